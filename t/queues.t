# Several queues side by side, and the ways to log in to Redis.

use strict;
use warnings;

use Test::More;
use VocTest qw(wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $acl = join ' ', 'app on >p@ss:word resetkeys ~voc:* ~{voc:*',
    '-@all +select +role +get +set +del +rpush +eval +evalsha +ping';

my $open   = VocTest::Redis->new->start;
my $secret = VocTest::Redis->new(password => 'pass word')->start;
my $users  = VocTest::Redis->new(users => [$acl])->start;

my $nginx = VocTest::Nginx->new;
open my $file, '>', $nginx->dir . '/password' or die $!;
print $file "pass word\nnot this\n";
close $file;
open $file, '>', $nginx->dir . '/crlf' or die $!;
print $file "pass word\r\n";
close $file;

my $port = $open->port;
my %redis = (
    tcp      => [$open,   '',  "redis 127.0.0.1:$port"],
    unix     => [$open,   '',  'redis unix:' . $open->socket],
    name     => [$open,   '',  "redis localhost:$port"],
    db       => [$open,   5,   "redis 127.0.0.1:$port; redis_db 5"],
    url      => [$open,   7,   "redis redis://127.0.0.1:$port/7"],
    tagged   => [$open,   '',  "redis 127.0.0.1:$port"],
    password => [$secret, '',  'redis unix:' . $secret->socket . '; redis_password "pass word"'],
    file     => [$secret, '',  'redis unix:' . $secret->socket . "; redis_password_file %%DIR%%/password"],
    urlpass  => [$secret, '',  'redis redis://:pass%20word@127.0.0.1:' . $secret->port],
    user     => [$users,  '',  'redis 127.0.0.1:' . $users->port . '; redis_user app; redis_password p@ss:word'],
    crlf     => [$secret, '',  'redis unix:' . $secret->socket . "; redis_password_file %%DIR%%/crlf"],
    urlat    => [$users,  '',  'redis redis://app:p@ss%3Aword@127.0.0.1:' . $users->port],
    urluser  => [$users,  '',  'redis redis://app:p%40ss%3Aword@127.0.0.1:' . $users->port],
);
my %key = map { $_ => "voc:$_" } keys %redis;
$key{tagged} = 'voc:{tag}:x';
my @names = sort keys %redis;

$nginx->{http} = join '', map({ <<"END" } @names), <<'END', map({ <<"END" } @names), '}';
    voc_webhook_queue $_ {
        $redis{$_}[2];
        key "$key{$_}";
        journal %%DIR%%/journal-$_ size=64k;
    }
END
    voc_webhook_queue memory { redis 127.0.0.1:1; journal off; }
    voc_webhook_queue gone { redis unix:/nonexistent; journal off; }
    server {
        voc_webhook_https off;
        voc_webhook_allow 127.0.0.1;
        listen 127.0.0.1:%%PORT%%;
        location = /memory  { voc_webhook memory; }
        location = /again   { voc_webhook tcp; }
END
        location = /$_ { voc_webhook $_; }
END

# The directories are made at the start, for the workers.
chmod 0777, $nginx->dir;
$nginx->start;
my $client = VocTest::Client->new(port => $nginx->port);

for my $name (@names) {
    my $answer = $client->post("/$name?"
            . query(sample('callRecordingAvailable', callid => $name)));
    is $answer->{status}, 200, "$name: accepted";
}
$client->post('/again?' . query(sample('callRecordingAvailable', callid => 'again')));

for my $name (@names) {
    my ($redis, $db) = @{ $redis{$name} };
    my ($id) = glob $nginx->dir . "/journal-$name/*.journal";
    $id =~ s/.*-([0-9a-f]{16})\.journal$/$1/;

    $redis->cli('SELECT', $db || 0);
    my ($item) = $redis->wait_list($key{$name}, 1);
    like $item, qr/"callid":"$name"/, "$name: on its list";
    like $item, qr/"seq":"$id:1"/,    "$name: the seq is its journal's";
    my $cursor = $name eq 'tagged' ? $key{$name} : "{$key{$name}}";
    ok wait_for { ($redis->cli('GET', "$cursor:cursor:$id") // '') =~ /^[12]$/ },
        "$name: its cursor";
    $redis->cli('SELECT', 0);
}
my @tcp = $open->wait_list('voc:tcp', 2);
is scalar(@tcp), 2, 'two locations, one queue';
like $tcp[1], qr/"callid":"again"/, 'in order';
is $client->post('/memory?' . query(sample('ivrOption')))->{status}, 200,
    'a queue whose Redis is away does no harm';

# Leftovers are looked for once a second, Redis is tried more often.
sleep 1;
unlike $nginx->error_log, qr/cannot look for journals/,
    'directories that nginx makes are the workers\' own';
is scalar(() = $nginx->error_log =~ /nonexistent/g), 1,
    'a Redis that is away is said once';

# ---- what Redis refuses ---------------------------------------------------------------

my %refused = (
    'a wrong password' => ['redis unix:' . $secret->socket . '; redis_password wrong',
        qr/\[alert\].*\(redis unix:\S+\): .*WRONGPASS/],
    'no password' => ['redis unix:' . $secret->socket,
        qr/\[alert\].*\(redis unix:\S+\): .*NOAUTH/],
    'a key that the user may not touch' =>
        ['redis 127.0.0.1:' . $users->port . '; redis_user app; redis_password p@ss:word; key other',
        qr/\[alert\].*\(redis 127\S+\): .*NOPERM/],
    'a wrong type at the key' => ["redis 127.0.0.1:$port; key string",
        qr/\[alert\].*\(redis 127\S+\): .*WRONGTYPE/],
);
$open->cli('SET', 'string', 'x');
for my $name (sort keys %refused) {
    my ($redis, $line) = @{ $refused{$name} };
    my $other = VocTest::Nginx->new(http => <<"END")->start;
        voc_webhook_queue calls { $redis; journal %%DIR%%/journal size=64k; }
        server {
            listen 127.0.0.1:%%PORT%%;
            location = /voc { voc_webhook calls; voc_webhook_https off;
                              voc_webhook_allow all; }
        }
END
    $other->expect_log($line);
    is(VocTest::Client->new(port => $other->port)
            ->post('/voc?' . query(sample('ivrOption')))->{status}, 200,
        "$name: events are accepted all the same");
    ok eval { $other->wait_log($line) }, "$name: and someone is told"
        or diag $other->error_log;
    is scalar(() = $other->error_log =~ /\[alert\]/g), 1, 'once';
    unlike $other->error_log, qr/\bwrong\b(?! kind)|p\@ss/, 'without the password';
}

$nginx->expect_log(qr/they are lost: the journal is off/);

done_testing;
