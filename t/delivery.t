# From the answer to the list: once each, in order, whatever comes and goes.

use strict;
use warnings;

use JSON::PP qw(decode_json);
use Test::More;
use Time::HiRes qw(time);
use VocTest qw(slow slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new(appendonly => 1);
my $http  = <<"END";
    log_format pid '\$pid';
    voc_webhook_https off;
    voc_webhook_allow 127.0.0.1;
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=4m;
    }
    server {
        listen 127.0.0.1:%%PORT%%;
        access_log %%DIR%%/pids pid;
        location = /voc { voc_webhook calls; }
    }
END
my $nginx = VocTest::Nginx->new(workers => 2, http => $http);

my $n = 0;

# Posts events 1, 2, ... over two connections; all have to be accepted.
sub post {
    my ($count) = @_;
    my @clients = map { VocTest::Client->new(port => $nginx->port) } 1 .. 2;

    for my $i (1 .. $count) {
        my $query = query(sample('callRecordingAvailable', callid => ++$n));
        # After a reload an old worker closes its idle connections, perhaps
        # just as a request comes, which it then has not read.
        my $answer = $clients[$i % 2]->post("/voc?$query")
            // $clients[$i % 2]->post("/voc?$query");
        return fail("event $n: $answer->{status} $answer->{body}")
            if $answer->{status} != 200;
    }
}

# All that was posted is on the list, once, in order.
sub list_is_right {
    my ($name) = @_;

    my @events = eval { $redis->wait_events($n) } or return fail("$name: $@");
    my @callids = map { $_->{callid} } @events;
    is "@callids", join(' ', 1 .. $n), $name;
    my %seq = map { $_->{seq} => 1 } @events;
    is scalar(keys %seq), $n, 'each seq once';
}

sub journals { my @files = glob $nginx->dir . '/journal/*.journal'; return @files }
sub cursors  { my @keys = $redis->cli('KEYS', '{voc:events}:cursor:*'); return @keys }

# One journal, one cursor, and that is its own: all earlier ones are gone.
sub settled {
    my ($id) = map {/-([0-9a-f]{16})\.journal$/} journals();
    return journals() == 1 && "@{[cursors()]}" eq "{voc:events}:cursor:$id";
}

# ---- Redis absent at first, then there ---------------------------------------------

$nginx->start;
# nginx 1.18 with a recent libc knows the number of an error, not its text.
my $refused = qr/connect\(\) failed \(111: /;
$nginx->wait_log(qr/\[error\].*voc_webhook_queue "calls" \(redis 127.0.0.1:\d+\): $refused/);
post(50);
is scalar(journals()), 1, 'one journal';
$redis->start;
list_is_right('Redis absent at start, then coming up');
is scalar(() = $nginx->error_log =~ /$refused/g), 1, 'said once';
is scalar(cursors()), 1, 'one cursor';

post(50);
list_is_right('in peace');

# ---- both workers -------------------------------------------------------------------

# Which worker takes a connection is the kernel's choice.
sub served { return { map { $_ => 1 } slurp($nginx->dir . '/pids') =~ /\d+/g } }

for (1 .. 200) {
    post(2);
    last if keys %{ served() } == 2;
}
is join(' ', sort keys %{ served() }), join(' ', sort $nginx->workers),
    'both workers took events';
list_is_right('from both workers');

# ---- Redis goes and comes back --------------------------------------------------------

$redis->stop;
post(50);
$redis->start;
list_is_right('Redis stopped and started');

$redis->pause;
post(50);
$redis->resume;
list_is_right('Redis paused');

$redis->cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
post(50);
list_is_right('its connection killed');

$redis->cli('SCRIPT', 'FLUSH');
post(50);
list_is_right('its scripts flushed');

# ---- nginx goes and comes back --------------------------------------------------------

my ($old) = journals();
$nginx->reload;
is_deeply [journals()], [$old], 'a reload keeps the journal';
post(50);
list_is_right('reloaded');

$redis->stop;
post(50);
$nginx->reload;
post(50);
$redis->start;
list_is_right('reloaded with a backlog');

$redis->stop;
post(50);
$nginx->stop;
is_deeply [journals()], [$old], 'the journal stays';
$nginx->start;
is scalar(journals()), 2, 'a start makes a journal of its own';
post(50);
$redis->start;
list_is_right('restarted with a backlog');
ok wait_for { !-e $old }, 'the old journal is deleted';
ok wait_for { settled() }, 'and its cursor';

$redis->stop;
post(50);
$nginx->kill;
$nginx->start;
post(50);
$nginx->kill;
$nginx->start;
post(50);
is scalar(journals()), 3, 'two journals left behind';
$redis->start;
list_is_right('killed twice with a backlog');
ok wait_for { settled() }, 'one journal, one cursor';

$redis->stop;
post(20);
$nginx->reload(http => $http =~ s/4m/8m/r, old => 1);
is scalar(journals()), 2, 'a new size is a new journal';
post(20);
$redis->start;
list_is_right('a new size with a backlog');
ok wait_for { journals() == 1 }, 'the smaller one is gone';

# ---- the old workers of a reload ------------------------------------------------------

# Requests that are half sent when the reload comes go into the old journal,
# which was empty until then.
my @half = map { VocTest::Client->new(port => $nginx->port) } 1 .. 20;
$nginx->restart(http => $http);
ok wait_for { journals() == 1 }, 'a fresh journal';
my @rest;
for my $i (0 .. $#half) {
    my $request = 'POST /voc?'
        . query(sample('callRecordingAvailable', callid => $n + 1 + $i))
        . " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";
    $half[$i]->send(substr $request, 0, 40);
    push @rest, substr $request, 40;
}
my @old = $nginx->reload(http => $http =~ s/4m/2m/r);
for my $i (0 .. $#half) {
    $half[$i]->send($rest[$i]);
    is $half[$i]->receive->{status}, 200, 'accepted by an old worker' or last;
    $n++;
}
list_is_right('accepted by old workers after a new size');
# For about 0.1 s both listen.
ok wait_for { !grep { -d "/proc/$_" } @old }, 'they end';
post(20);
list_is_right('and by the new ones');

# A reload that fails leaves nothing behind; the old configuration goes on.
ok wait_for { settled() }, 'the journal of the old workers is gone';
my @before = journals();
$nginx->expect_log(qr/\[emerg\]/);
eval { $nginx->reload(http => $http =~ s/4m/1m/r
        . 'voc_webhook_queue bad { journal /proc/none; }') };
like $@, qr/does not reload.*\/proc\/none/s, 'a reload fails';
ok wait_for { "@{[journals()]}" eq "@before" }, 'and leaves no journal';
post(20);
list_is_right('after a reload that failed');

# ---- a graceful exit with a backlog ---------------------------------------------------

# Redis is given 2 s to take it, or as long as the worker may last.
$nginx->restart(http => $http, main => 'worker_shutdown_timeout 100ms;');
post(1);
list_is_right('before Redis hangs');
$redis->pause;
post(20);
my $begin = time;
$nginx->stop;
cmp_ok time - $begin, '<', 1.5 * slow(), 'worker_shutdown_timeout ends the wait';
like $nginx->error_log, qr/20 events not pushed at exit, they wait/, 'it is said';
$redis->resume;
$nginx->start(main => '');
list_is_right('once Redis goes on');

# ---- the files -------------------------------------------------------------------------

$nginx->restart(http => $http);
ok wait_for { settled() },
    'a drained journal goes at the next start, with its cursor';
$nginx->restart;
ok wait_for { settled() }, 'an unused one, too';

# What cannot be deleted is said once, and left alone.
SKIP: {
    skip 'root only', 4 if $> != 0;
    my $dir = $nginx->dir . '/journal';
    $nginx->expect_log(qr/\[alert\].*cannot delete journal/);
    $nginx->stop;
    chown 0, 0, $dir;
    chmod 0755, $dir;
    $nginx->start;
    ok eval { $nginx->wait_log(qr/\[alert\].*cannot delete journal/) },
        'an undeletable journal is reported';
    post(20);
    list_is_right('and does not stand in the way');
    is scalar(() = $nginx->error_log =~ /cannot delete journal/g), 1, 'once' or diag $nginx->error_log;
    is scalar(journals()), 2, 'it is still there';
}

done_testing;
