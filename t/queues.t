# Several queues side by side, and the ways to log in to Redis.

use strict;
use warnings;

use Test::More;
use VocTest qw(root slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Consumer;
use VocTest::Nginx;
use VocTest::Redis;

# The user that the README tells to make, and its rights.
my ($acl) = slurp(root() . '/README.md') =~ /^ACL SETUSER (voc on .*)$/m;
my @rights = $acl =~ /\+(\w+)/g;

sub user {
    my ($name, $password, $key) = @_;

    return $acl =~ s/^voc on >PASSWORD/$name on >$password/r
        =~ s/voc:events/$key/gr;
}

my $open   = VocTest::Redis->new->start;
my $secret = VocTest::Redis->new(password => 'pass word')->start;
my $users  = VocTest::Redis->new(users => [$acl,
    user('app', 'p@ss:word', 'voc:*'),
    map { user("no-$_", 'pw', "no:$_") =~ s/ \+$_\b//r } @rights])->start;

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

# ---- what the user may do --------------------------------------------------------------

# Each right is missing in one queue.  Its event stays in the journal, with one
# line in the log, and comes once when the right is there.
my $rights = VocTest::Nginx->new(workers => 1);
my $at = 'redis 127.0.0.1:' . $users->port . '; redis_db 2';
$rights->{http} = join '', <<"END", map({ <<"END" } @rights), <<'END', map({ <<"END" } @rights), '}';
    voc_webhook_queue voc {
        $at; redis_user voc; redis_password PASSWORD;
        journal %%DIR%%/journal size=64k;
    }
END
    voc_webhook_queue no-$_ {
        $at; redis_user no-$_; redis_password pw; key no:$_;
        journal %%DIR%%/journal-$_ size=64k;
    }
END
    server {
        voc_webhook_https off;
        voc_webhook_allow 127.0.0.1;
        listen 127.0.0.1:%%PORT%%;
        location = /voc     { voc_webhook voc; }
END
        location = /$_ { voc_webhook no-$_; }
END

# Waits on each list, so that it would see what is taken back later.
my $consumer = VocTest::Consumer->new(how => 'BLPOP', socket => $users->socket,
    key => join(' ', 'voc:events', map {"no:$_"} @rights), db => 2)->start;
wait_for { $users->cli('INFO', 'clients')->{blocked_clients} };

my (%posted, $log);

sub post {
    for my $name (@_) {
        my $callid = "$name-" . ++$posted{$name};
        my $answer = VocTest::Client->new(port => $rights->port)
            ->post("/$name?" . query(sample('ivrOption', callid => $callid)));
        is $answer->{status}, 200, "$callid: accepted" if $answer->{status} != 200;
    }
    return;
}

sub taken { return map { /"callid":"$_[0]-(\d+)"/ } $consumer->lines }

sub arrived {
    my ($name, $what) = @_;

    wait_for { taken($name) >= $posted{$name} };
    is join(' ', taken($name)), join(' ', 1 .. $posted{$name}),
        "+$name: $what";
    return;
}

# The lines of one queue since $log, from the alerts on.
sub lines_of {
    my ($name, $pattern) = @_;

    return grep { /"no-$name"/ && /$pattern/ }
        split /\n/, substr $rights->error_log, $log;
}

sub missed {
    my ($name, $text) = @_;

    ok wait_for { lines_of($name, qr/\[alert\].*$text/) }, "-$name: an alert"
        or diag substr $rights->error_log, $log;
    is scalar(lines_of($name, qr/\[(?:alert|error|warn)\]/)), 1, 'nothing else';
    is taken($name) + 0, $posted{$name} - 1, 'nothing is pushed';
    return;
}

sub allow {
    $users->cli('ACL', 'SETUSER', "no-$_", "+$_") for @_;
    return;
}

my @needed = grep { !/^(?:auth|del|ping)$/ } @rights;
$rights->expect_log(qr/\[alert\].*NOPERM.* permissions to run the '\w+' command/,
    qr/\[alert\].*The user executing the script can't run this command/);
chmod 0777, $rights->dir;
$log = 0;
$rights->start;
post('voc', @rights);
wait_for { taken('voc') };
is join(' ', taken('voc')), 1, "the README's user is enough";
missed($_, qr/NOPERM.*'$_' command/) for @needed;
for (qw(auth del ping)) {
    wait_for { taken($_) };
    is join(' ', taken($_)), 1, "-$_: pushed all the same";
}

# The files of this start are left to the next, which ends with their cursors.
allow(@needed);
$log = length $rights->error_log;
$rights->restart;
arrived($_, 'what waited comes once') for @needed;
ok wait_for { lines_of('del', qr/\[warn\].*cursor.*cannot be deleted.*'del'/) },
    '-del: a cursor is left, which is said';
post('voc', @rights);
arrived($_, 'goes on') for 'voc', @rights;
is scalar(lines_of($_, qr/\[(?:alert|error|warn)\]/)), $_ eq 'del' ? 1 : 0,
    "$_: nothing else in the log" for @rights;

# Taken away later, where the cursor is there.  Who has asked for the rights
# before needs a new connection to notice it: MULTI, LINDEX and LTRIM.
$log = length $rights->error_log;
for my $name (@needed, 'ping') {
    $users->cli('MULTI');
    $users->cli('ACL', 'SETUSER', "no-$name", "-$name");
    $users->cli(qw(CLIENT KILL USER), "no-$name")
        if $name =~ /^(?:multi|lindex|ltrim|role|select)$/;
    $users->cli('EXEC');
}
post(@needed);
for my $name (@needed) {
    # Who is disconnected says that first.
    wait_for { lines_of($name, qr/\[alert\]/) };
    ok scalar(lines_of($name, qr/\[alert\].*(?:'$name' command|script can't)/)),
        "-$name: taken away" or diag substr $rights->error_log, $log;
    is scalar(lines_of($name, qr/\[alert\]/)), 1, 'said once';
    is taken($name) + 0, $posted{$name} - 1, 'and nothing is pushed';
}
allow(@needed);
$rights->reload;
post(@needed);
arrived($_, 'given back: each once, in order') for @needed;
my $quiet = length $rights->error_log;

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

# ---- without +ping: once it has been quiet for 15 s ------------------------------------

$log = $quiet;
my $pings = wait_for { lines_of('ping', qr/\[alert\].*NOPERM.*'ping' command/) } 30;
is $pings, 1, '-ping: an alert' or diag substr $rights->error_log, $log;
post('ping');
allow('ping');
$rights->reload;
arrived('ping', 'what waited comes once');

$nginx->expect_log(qr/they are lost: the journal is off/);

done_testing;
