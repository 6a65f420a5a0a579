# What Redis and the network do while events come in over HTTPS: all that was
# answered 200 is on the list, once, in order.

use strict;
use warnings;

use File::Copy qw(copy);
use POSIX ();
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_KEEPALIVE);
use Test::More;
use Time::HiRes qw(sleep);
use VocTest qw(reap spawn wait_for);
use VocTest::Client qw(query sample);
use VocTest::Proxy;
use VocTest::Rig;

my %load = (connections => 3, rate => 120);

# Senders are answered 200, and nothing else, whatever Redis does.
sub right {
    my ($rig, $name, %options) = @_;

    $rig->{senders}[-1]->wait_more(50);
    return $rig->verify($name, nothing => [qw(broken refused)], %options);
}

sub right_at_rest {
    my ($rig, $name) = @_;

    return $rig->verify($name, nothing => [qw(broken refused)]);
}

sub logged {
    my ($rig, $pattern) = @_;

    return scalar(() = $rig->nginx->error_log =~ /$pattern/g);
}

# The pusher's socket, as nginx has it: pidfd_open(), pidfd_getfd().
sub pushers_socket {
    my ($rig) = @_;
    my ($pid, $fd) = $rig->pusher or return;
    my $of   = syscall 434, $pid + 0, 0;
    my $copy = $of == -1 ? -1 : syscall 438, $of, $fd + 0, 0;
    POSIX::close($of) if $of != -1;
    return if $copy == -1;
    open my $socket, '+<&=', $copy or return;
    return $socket;
}

# Through the socket come the test and the consumer.
sub kill_pusher {
    my ($redis) = @_;

    for ($redis->cli(qw(CLIENT LIST)) =~ /\baddr=(127\.0\.0\.1:\d+)/g) {
        eval { $redis->cli(qw(CLIENT KILL ADDR), $_) };    # gone by itself
    }
    return;
}

# How often a batch was taken back, or the right to do so was asked for.
sub trims {
    my ($redis) = @_;

    return ($redis->cli('INFO', 'commandstats')->{cmdstat_ltrim} // '')
        =~ /calls=(\d+)/ ? $1 : 0;
}

# ---- commands, crashes, pauses ---------------------------------------------------

{
    my $rig = VocTest::Rig->new(
        redis   => { appendonly => 1 },
        journal => '%%DIR%%/journal size=64m',
    )->start;
    my ($redis, $nginx) = ($rig->redis, $rig->nginx);
    my $sender = $rig->send(%load);

    # A peer that is gone without a word: the kernel looks for it.
    SKIP: {
        wait_for { $rig->pusher };
        my $socket = pushers_socket($rig)
            or skip 'no look at the sockets of others here', 2;
        ok unpack('i', getsockopt $socket, SOL_SOCKET, SO_KEEPALIVE),
            'TCP keepalive';
        is unpack('i', getsockopt $socket, IPPROTO_TCP, 18), 1000,
            'TCP_USER_TIMEOUT is redis_timeout';
    }

    for (1 .. 10) {
        $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes));
        $sender->wait_more(20);
    }
    right($rig, 'CLIENT KILL, ten times');

    # Longer than redis_timeout: the connection is given up.
    $redis->cli(qw(CLIENT PAUSE 2000 WRITE));
    $nginx->wait_log(qr/no reply in time/);
    right($rig, 'CLIENT PAUSE 2000 WRITE');

    for (1 .. 5) {
        $redis->cli(qw(SCRIPT FLUSH));
        $sender->wait_more(20);
    }
    right($rig, 'SCRIPT FLUSH, five times');

    $redis->cli(qw(CONFIG SET maxmemory 1));
    $nginx->wait_log(qr/\[error\].*OOM command not allowed/);
    $sender->wait_more(50);
    $redis->cli(qw(CONFIG SET maxmemory 0));
    right($rig, 'maxmemory reached');

    $redis->cli(qw(CONFIG SET min-replicas-to-write 1));
    $nginx->wait_log(qr/\[error\].*NOREPLICAS/);
    $sender->wait_more(50);
    $redis->cli(qw(CONFIG SET min-replicas-to-write 0));
    right($rig, 'too few replicas');

    $redis->cli(qw(CONFIG SET maxclients 1));
    $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes));
    $nginx->wait_log(qr/\[error\].*max number of clients/);
    $sender->wait_more(50);
    $redis->cli(qw(CONFIG SET maxclients 1000));
    right($rig, 'too many clients');

    # A script of someone else that does not end.
    $redis->cli(qw(CONFIG SET lua-time-limit 50));
    my $script = spawn('/dev/null', 'redis-cli', '-s', $redis->socket,
        'EVAL', 'while true do end', 0);
    $nginx->wait_log(qr/\[error\].*BUSY/);
    $sender->wait_more(50);
    wait_for { eval { $redis->cli(qw(SCRIPT KILL)) } };
    wait_for { reap($script) };
    right($rig, 'a script that blocks Redis');

    $nginx->expect_log(qr/\[alert\].*WRONGTYPE/);
    $rig->take('SET', 'voc:events', 'a string');
    $nginx->wait_log(qr/\[alert\].*WRONGTYPE/);
    $sender->wait_more(50);
    is $redis->cli('GET', 'voc:events'), 'a string', 'it is left alone';
    $redis->cli('DEL', 'voc:events');
    right($rig, 'a wrong type at the key');
    is logged($rig, qr/WRONGTYPE/), 1, 'said once';

    $redis->cli(qw(REPLICAOF 127.0.0.1 1));
    $nginx->wait_log(qr/READONLY|not a master/);
    $sender->wait_more(50);
    $redis->cli(qw(REPLICAOF NO ONE));
    right($rig, 'a replica for a while');

    for (1 .. 3) {
        $redis->kill;
        $sender->wait_more(50);
        $redis->start;
        right($rig, 'kill -9 and restart, appendonly');
    }

    $redis->pause;
    sleep 2.5;
    $redis->resume;
    right($rig, 'stopped for longer than redis_timeout');

    # Replies that come too late, and what old connections hold, by turns.
    for (1 .. 3) {
        $redis->pause;
        sleep 1.2;
        $redis->resume;
    }
    $sender->stop;
    $rig->marker;
    right_at_rest($rig, 'stopped three times');
    is $rig->cursors, 1, 'one cursor';
}

# ---- a consumer that takes events off meanwhile ------------------------------------

for my $how (qw(BLMOVE LPOP)) {
    my $rig = VocTest::Rig->new(redis => { appendonly => 1 })->start;
    my $redis    = $rig->redis;
    my $sender   = $rig->send(%load);
    my $consumer = $rig->consume($how);

    for (1 .. 3) {
        $sender->wait_more(50);
        # An LPOP whose reply is lost has lost its event: not our business.
        $how eq 'BLMOVE' ? $redis->kill->start : $redis->pause;
        sleep 1.2 if $how eq 'LPOP';
        $redis->resume;
        $sender->wait_more(50);
        $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes)) if $how eq 'BLMOVE';
    }
    $sender->stop;
    $rig->marker;
    right_at_rest($rig, "$how while Redis "
            . ($how eq 'BLMOVE' ? 'is killed' : 'is stopped'));
    ok wait_for { !$redis->cli('LLEN', 'voc:events') }, 'all is taken';
    $consumer->stop;
    right_at_rest($rig, 'and nothing twice');
}

# ---- a consumer that waits: it is given whatever is on the list for a moment --------

{
    my $redis = VocTest::Redis->new->start;
    my $proxy = VocTest::Proxy->new(to => $redis->port)->start;
    my $rig   = VocTest::Rig->new(redis => $redis, via => $proxy->port);
    my $nginx = $rig->nginx->start;
    my $consumer = $rig->consume('BLPOP');

    $rig->marker;
    for my $events (1, 30) {
        my $connections = $proxy->connections;
        $proxy->mode('hold');
        $rig->send(connections => $events, rate => 0, count => 1)->wait;
        wait_for { $proxy->connections > $connections }
            or fail('the connection is not given up');
        right_at_rest($rig, "$events waiting, pushed on a new connection");
        is $redis->cli('LLEN', 'voc:events'), 0, 'and taken';

        my $trims = trims($redis);
        cmp_ok $proxy->held, '>', 300, 'the old one holds a batch';
        $proxy->mode('release');
        is wait_for { trims($redis) - $trims }, 1, 'which Redis takes back';
        $rig->marker;
        right_at_rest($rig, 'before the consumer gets it');
        is $redis->cli('EXISTS', 'voc:events'), 0, 'the list is as it was';
    }

    my $sender = $rig->send(%load);
    for my $round (1 .. 3) {
        my $connections = $proxy->connections;
        $proxy->mode('hold');
        wait_for { $proxy->connections > $connections }
            or fail('the connection is not given up');
        $sender->wait_more(20);
        $proxy->mode('release');
        for (1 .. 5) {
            kill_pusher($redis);
            $sender->wait_more(10);
            $redis->cli(qw(SCRIPT FLUSH));
            $sender->wait_more(5);
            $redis->cli(qw(CLIENT PAUSE 100 WRITE));
            $sender->wait_more(10);
        }
        right($rig, 'late batches, kills, pauses and no scripts under load');
    }

    # The old connection's EXEC waits in Redis, that of the new one behind it.
    my $connections = $proxy->connections;
    $redis->cli(qw(CLIENT PAUSE 30000 WRITE));
    wait_for { $proxy->connections > $connections }
        or fail('the connection is not given up');
    $redis->cli(qw(CLIENT UNPAUSE));
    right($rig, 'a pause for longer than redis_timeout');

    # Who waits does so while the key is of another type.
    $nginx->expect_log(qr/\[alert\].*WRONGTYPE/);
    for my $key ('voc:events', $rig->cursors) {
        my $logged = logged($rig, qr/\[alert\].*WRONGTYPE/);
        if ($key eq 'voc:events') {
            # where it is empty
            wait_for { eval { $redis->cli('HSET', $key, 'x', 'y') } };
        }
        else {
            $redis->cli('MULTI');
            $redis->cli('DEL', $key);
            $redis->cli('HSET', $key, 'x', 'y');
            $redis->cli('EXEC');
        }
        ok wait_for { logged($rig, qr/\[alert\].*WRONGTYPE/) > $logged },
            "$key is of a wrong type";
        # What was pushed before has been taken, and written down.
        wait_for { $redis->cli('INFO', 'clients')->{blocked_clients} }
            if $key ne 'voc:events';
        my @lines = $consumer->lines;
        kill_pusher($redis);
        $sender->wait_more(100);
        is scalar($consumer->lines), @lines, 'nothing is pushed';
        is $redis->cli('TYPE', $key), 'hash', 'it is left alone';
        is $redis->cli('EXISTS', 'voc:events'), $key eq 'voc:events' ? 1 : 0,
            'and so is the list';
        $redis->cli('DEL', $key);
        right($rig, "$key is put right");
        is logged($rig, qr/\[alert\].*WRONGTYPE/), $logged + 1, 'said once';
    }
    $sender->stop;
    $rig->marker;
    right_at_rest($rig, 'at rest');
    is $redis->cli('LLEN', 'voc:events'), 0, 'all is taken';
    is $rig->cursors, 1, 'one cursor';
}

# ---- large ones -----------------------------------------------------------------------

# Memory ends within a batch, or between two.
{
    my $rig = VocTest::Rig->new(queue => 'redis_timeout 20s;')->start;
    my ($redis, $nginx) = ($rig->redis, $rig->nginx);

    for my $room (300_000, 1_500_000, 3_000_000) {
        my $logged = logged($rig, qr/\[error\].*OOM command not allowed/);
        $rig->marker;
        $redis->cli(qw(CLIENT PAUSE 20000 WRITE));
        $rig->send(connections => 4, rate => 0, count => 1200, padding => 1000)
            ->wait;
        $redis->cli(qw(CONFIG SET maxmemory),
            $redis->cli('INFO', 'memory')->{used_memory} + $room);
        $redis->cli(qw(CLIENT UNPAUSE));
        ok wait_for { logged($rig, qr/\[error\].*OOM/) > $logged },
            "room for $room bytes: no memory any more";
        note $redis->cli('LLEN', 'voc:events'), ' on the list';
        $redis->cli(qw(CONFIG SET maxmemory 0));
        right_at_rest($rig, 'memory again');
    }
}

# An event of more bytes than are read of an answer, the last one on the list.
{
    my $rig = VocTest::Rig->new->start;
    my $client = VocTest::Client->new(port => $rig->nginx->port, tls => 1);

    push @{ $rig->{markers} }, 'large';
    my $answer = $client->post('/voc', body => query(sample('callRecordingAvailable',
            callid => 'large', padding => 'x' x 200_000)),
        headers => ['Content-Type' => 'application/x-www-form-urlencoded']);
    is $answer->{status}, 200, 'an event of 200 kB';
    wait_for { $rig->redis->cli('LLEN', 'voc:events') };
    kill_pusher($rig->redis);
    $rig->marker;
    right_at_rest($rig, 'is no obstacle to a new connection');
    is logged($rig, qr/\[(?:alert|error)\]/), 1, 'the lost one is said, no more';
}

# ---- Redis loses what it had confirmed ----------------------------------------------

# Redis goes back to a snapshot that was made before the last n events.
sub go_back {
    my ($rig, $events) = @_;
    my $redis = $rig->redis;
    my $file  = $redis->dir . '/dump.rdb';

    $rig->send(connections => 2, rate => 0, count => 100)->wait;
    $rig->marker;
    $redis->cli('SAVE');
    copy($file, "$file.old") or die $!;
    $rig->send(connections => 1, rate => 0, count => $events)->wait;
    $rig->marker;
    my $all = $redis->cli('LLEN', 'voc:events');
    $redis->kill;
    copy("$file.old", $file) or die $!;
    $redis->start;
    return $all;
}

{
    my $rig = VocTest::Rig->new->start;
    my $all = go_back($rig, 1000);
    my $sender = $rig->send(%load);

    right($rig, 'from an older snapshot: what was lost comes again');
    $sender->stop;
    $rig->marker;
    right_at_rest($rig, 'and only that');
    my @counts = $rig->nginx->error_log
        =~ /\[warn\].*lost what it had confirmed, (\d+) .* (\d+) are pushed again, (\d+) are no longer/;
    # 1000 and the marker behind them
    is "@counts", '1001 1001 0', 'counted in the log';
}

# With room for some 200 events: what the ring no longer holds is gone.
{
    my $rig = VocTest::Rig->new(journal => '%%DIR%%/journal size=64k')->start;
    my $all = go_back($rig, 1000);

    $rig->marker;
    my $log = qr/\[warn\].*lost what it had confirmed, (\d+) .* (\d+) are pushed again, (\d+) are no longer/;
    $rig->nginx->wait_log($log);
    my ($lost, $again, $gone) = $rig->nginx->error_log =~ $log;
    is $lost, 1001, 'a small journal: all that was lost is known';
    is $again + $gone, $lost, 'either pushed again or gone';
    cmp_ok $again, '>', 100, 'what it holds is pushed again';
    is $rig->redis->cli('LLEN', 'voc:events'), $all - $gone + 1,
        'and as many are on the list';
    my %problems = VocTest::Ledger::compare(accepted => [$rig->accepted],
        sent => {}, list => [$rig->list]);
    # The marker that was pushed before the crash may be gone as well.
    cmp_ok abs(@{ $problems{lost} } - $gone), '<=', 1, 'no more are missing';
    is "@{ $problems{twice} } @{ $problems{seq} } @{ $problems{order} }", '  ',
        'none twice, in order';
}

{
    my $rig = VocTest::Rig->new->start;
    my $sender = $rig->send(%load);

    for my $n (1 .. 3) {
        $sender->wait_more(50);
        $rig->take('FLUSHALL');
        right($rig, 'FLUSHALL: goes on behind what was confirmed');
        is logged($rig, qr/\[warn\].*no cursor of journal/), $n, 'said once';
    }
    is logged($rig, qr/\[(?:warn|error)\]/), 3, 'and nothing else';
}

# ---- a new password ---------------------------------------------------------------

{
    my $rig = VocTest::Rig->new(
        redis => { password => 'old' },
        queue => 'redis_timeout 1s; redis_password old;',
    )->start;
    my ($redis, $nginx) = ($rig->redis, $rig->nginx);
    my $sender = $rig->send(%load);

    $redis->cli(qw(CONFIG SET requirepass new));
    right($rig, 'a new password: the connection is still good');
    $nginx->expect_log(qr/\[alert\].*WRONGPASS/);
    $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes));
    $nginx->wait_log(qr/\[alert\].*WRONGPASS/);
    $redis->{password} = 'new';
    $sender->wait_more(50);
    $nginx->reload(http => $rig->http(
        queue => 'redis_timeout 1s; redis_password new;'));
    # A request on a connection that is being closed goes unanswered.
    $rig->verify('a reload with the new password');
    is logged($rig, qr/WRONGPASS/), 1, 'said once';
}

# ---- a network in between ------------------------------------------------------------

{
    my $redis = VocTest::Redis->new->start;
    my $proxy = VocTest::Proxy->new(to => $redis->port)->start;
    my $rig   = VocTest::Rig->new(redis => $redis, via => $proxy->port);
    my $nginx = $rig->nginx->start;
    my $sender = $rig->send(%load);

    $proxy->mode('delay', 0.1);
    right($rig, 'a slow network');

    # One connection pushes some batches, then ends in the middle of one.
    for my $bytes (40, 900, 20011) {
        $proxy->mode('cut', $bytes);
        $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes));
        my $connections = $proxy->connections;
        wait_for { $proxy->connections >= $connections + 2 }
            or fail('no new connection');
    }
    $proxy->mode('pass');
    right($rig, 'cut off within what is sent', timeout => 30);

    for my $bytes (1, 50, 1501) {
        $proxy->mode('cut-reply', $bytes);
        $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes));
        my $connections = $proxy->connections;
        wait_for { $proxy->connections >= $connections + 2 }
            or fail('no new connection');
    }
    $proxy->mode('pass');
    right($rig, 'cut off within a reply', timeout => 30);

    $proxy->mode('drip', 0.0001);
    sleep 1;
    $proxy->mode('pass');
    right($rig, 'byte by byte');

    $proxy->mode('blackhole');
    $sender->wait_more(300);
    $nginx->wait_log(qr/no (?:reply|answer) in time|took too long/);
    $proxy->mode('pass');
    right($rig, 'a black hole');

    # The old connection's bytes arrive when the new one has pushed: each
    # batch expects the cursor that was, so it does nothing.
    for my $round (1 .. 3) {
        $sender->wait_more(20);
        my $connections = $proxy->connections;
        $proxy->mode('hold');
        wait_for { $proxy->connections > $connections }
            or fail('the connection is not given up');
        $sender->wait_more(20);
        right($rig, 'pushed on a new connection');
        my $held = $proxy->held;
        cmp_ok $held, '>', 300, "$held bytes of the old one are held";
        $proxy->mode('release');
        wait_for { !$proxy->held };
        right($rig, 'what the old one held does nothing');
    }
    $sender->stop;
    $rig->marker;
    right_at_rest($rig, 'at rest');
    is $rig->cursors, 1, 'one cursor';
}

done_testing;
