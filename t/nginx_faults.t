# What happens to nginx while events come in over HTTPS: kills, stops, reloads,
# upgrades.  All that was answered 200 is on the list, once, in order.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);
use VocTest qw(session slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Rig;

my %load = (connections => 4, rate => 100);

sub any { return $_[rand @_] }

sub state_of { return (slurp("/proc/$_[0]/stat") =~ /\) (\S)/)[0] // '-' }

# ---- kill -9 ------------------------------------------------------------------------

my $rig = VocTest::Rig->new(journal => '%%DIR%%/journal size=64m')->start;
my ($redis, $nginx) = ($rig->redis, $rig->nginx);
my $sender = $rig->send(%load);

$nginx->expect_log(qr/\[alert\].*exited on signal 9/);

# Requests that die with a worker are the only ones without an answer.
for my $which ('a worker', 'the pusher') {
    for (1 .. 5) {
        my $pid = $which eq 'a worker' ? any($nginx->workers)
            : wait_for { $rig->pusher };
        $sender->wait_more(20);
        kill 'KILL', $pid;
        ok wait_for { !grep({ $_ == $pid } $nginx->workers)
                && $nginx->workers == 2 }, "$which is replaced"
            or diag($nginx->error_log);
    }
    $sender->wait_more(50);
    $rig->verify("kill -9 of $which, five times", nothing => 'refused');
}
cmp_ok $sender->count('broken'), '<=', 10 * 4, 'one request a connection at most';

# Its workers go on without it.
{
    my $broken = $sender->count('broken');
    kill 'KILL', $nginx->pid;
    wait_for { state_of($nginx->pid) =~ /[Z-]/ };
    $sender->wait_more(100);
    $rig->verify('kill -9 of the master: its workers go on',
        nothing => 'refused');
    is $sender->count('broken'), $broken, 'nobody notices';

    # They hold the port; the start that fails takes its journal along.
    my @journals = $rig->journals;
    $nginx->expect_log(qr/\[emerg\].*could not bind|\[emerg\].*bind\(\)/);
    my $status = system(join ' ', (map {"'$_'"} $nginx->command('-c',
            $nginx->dir . '/nginx.conf')), '2>/dev/null');
    isnt $status, 0, 'nginx does not start beside them';
    is "@{[ $rig->journals ]}", "@journals", 'and leaves no journal';
    $rig->verify('nor does it push their events');
    $nginx->kill->start;
    $sender->wait_more(50);
    $rig->verify('a new master, once they are gone');
}

for (1 .. 3) {
    $sender->wait_more(30);
    $nginx->kill->start;
}
$sender->wait_more(50);
$rig->verify('kill -9 of all, three times');

# ---- stopped processes -----------------------------------------------------------------

# A process that is stopped within the lock makes the others answer 503.
$nginx->expect_log(qr/\[crit\].*a process holds the journal's lock/);
my $stopped = sub {
    my ($name, $pid) = @_;

    kill 'STOP', $pid;
    # Connections of its own wait; these go to the other one.
    $rig->send(connections => 2, rate => 20, count => 50)->wait;
    kill 'CONT', $pid;
    $sender->wait_more(50);
    $rig->verify($name, others => scalar($nginx->error_log =~ /holds the/));
};

my $pusher = wait_for { $rig->pusher };
$stopped->('the pusher stopped for longer than its deadlines', $pusher);
($pusher) = wait_for { $rig->pusher };
my ($other) = grep { $_ != $pusher } $nginx->workers;
$stopped->('the other worker stopped', $other);

# Its seat is taken while it sleeps.
{
    kill 'STOP', $pusher;
    $nginx->reload;
    $rig->send(connections => 2, rate => 0, count => 100)->wait;
    $rig->verify('pushed by another while the old pusher is stopped',
        others => scalar($nginx->error_log =~ /holds the/));
    kill 'CONT', $pusher;
    ok wait_for { state_of($pusher) =~ /[Z-]/ }, 'it ends when it wakes';
    $sender->wait_more(50);
    $rig->verify('and pushes nothing again',
        others => scalar($nginx->error_log =~ /holds the/));
}
my @others = $sender->others;

# ---- reloads -----------------------------------------------------------------------------

{
    my $refused = $sender->count('refused');
    my $end = time + 3;
    my $n   = 0;
    while (time < $end) {
        kill 'HUP', $nginx->pid;
        $n++;
        sleep 0.05;
    }
    $sender->wait_more(50);
    ok wait_for { session($nginx->{session}) == 3 }, 'the old workers end'
        or diag(join ' ', session($nginx->{session}));
    $rig->verify("$n reloads in three seconds", others => scalar @others);
    is $sender->count('refused'), $refused, 'every connection was accepted';
}

for my $workers (1, 4, 2) {
    $nginx->{workers} = $workers;
    $nginx->reload(old => 1);
    $sender->wait_more(50);
    is scalar($nginx->workers), $workers, "$workers workers";
    $rig->verify("reloaded with $workers workers", others => scalar @others);
}

{
    my $broken = $sender->count('broken');
    $nginx->expect_log(qr/\[emerg\]/);
    for my $bad ('nonsense;', 'voc_webhook_queue bad { journal /proc/none; }') {
        eval { $nginx->reload(http => $rig->http . $bad) };
        like $@, qr/does not reload/, 'a broken configuration is refused';
    }
    $sender->wait_more(50);
    is $sender->count('broken'), $broken, 'nobody notices';
    $rig->verify('the old one goes on', others => scalar @others);
    $nginx->configure(http => $rig->http);
}

# Nor do they make a file that they delete again: the directory is as it was.
{
    my $touched = sub {
        join ' ', $rig->journals,
            (Time::HiRes::stat($nginx->dir . '/journal'))[9, 10];
    };
    my $before = $touched->();
    for (1 .. 20) {
        my ($exit, $output) = $nginx->test_config;
        $exit == 0 or fail("nginx -t: $output");
    }
    is $touched->(), $before, 'nginx -t touches no journal';
    system($nginx->command('-s', 'reopen', '-c', $nginx->dir . '/nginx.conf'))
        == 0 or fail('nginx -s reopen');
    is $touched->(), $before, 'nor does nginx -s';
    $sender->wait_more(50);
    $rig->verify('nginx -t, twenty times', others => scalar @others);
}

# An old worker that lingers: its client sends the rest when the new ones are
# there.
{
    my @half = map { VocTest::Sender::Client->new(port => $nginx->port,
            tls => 1, timeout => 20) } 1 .. 4;
    my @queries;
    for my $i (0 .. $#half) {
        push @{ $rig->{markers} }, "slow-$i";
        $half[$i]->send('POST /voc?event=callRecordingAvailable');
    }
    my @old = $nginx->reload;
    $sender->wait_more(100);
    ok scalar(grep { state_of($_) !~ /[Z-]/ } @old), 'an old worker waits';
    for my $i (0 .. $#half) {
        $half[$i]->send("&date=2024-01-01+19:00&callid=slow-$i HTTP/1.1\r\n"
                . "Host: x\r\nContent-Length: 0\r\n\r\n");
        is $half[$i]->receive->{status}, 200, 'it accepts the event';
    }
    ok wait_for { !grep { state_of($_) !~ /[Z-]/ } @old }, 'and ends';
    ok wait_for { 4 == grep {/"callid":"slow-/} $rig->list },
        'its events are pushed';
    $rig->verify('an old worker that lingers', others => scalar @others);
}

$sender->stop;
$rig->marker;
$rig->verify('at rest', others => scalar @others);
$rig->drained(kills => 1);
unlike $nginx->error_log, qr/exited on signal (?!9\b)/, 'no worker crashed';
is scalar(grep { !/^503 \S+ journal_error / } @others), 0,
    'no other answer than 200, or 503 while the lock was held';

# ---- another size, a binary upgrade: two journals at work ---------------------------------

# The new binary of a sanitizer's build wants what the old one had.
$rig = VocTest::Rig->new(journal => '%%DIR%%/journal size=4m',
    main => join '', map {"env $_;\n"} qw(LD_PRELOAD ASAN_OPTIONS));
($redis, $nginx) = ($rig->redis, $rig->nginx);
$redis->start;
daemon($nginx);
$sender = $rig->send(%load);

# nginx takes USR2 only where the process that started it has ended.
sub daemon {
    my ($nginx) = @_;

    $nginx->{http} = $rig->http;
    $nginx->{conf} = $nginx->template =~ s/daemon off;/daemon on;/r;
    my $conf = $nginx->write_conf('nginx.conf', $nginx->dir . '/error.log');
    system($nginx->command('-c', $conf)) == 0
        or die $nginx->error_log;
    $nginx->{pid} = $nginx->{session} = wait_for {
        (slurp($nginx->dir . '/nginx.pid') =~ /(\d+)/)[0]
    };
    $nginx->{started} = 1;
    wait_for { $nginx->workers == 2 } or die $nginx->error_log;
}

for my $size (qw(1m 8m 2m)) {
    $nginx->reload(old => 1,
        http => $rig->http(journal => "%%DIR%%/journal size=$size"));
    $sender->wait_more(50);
    $rig->verify("a reload with size=$size", mixed => 1);
}
ok wait_for { $rig->journals == 1 }, 'drained journals are gone';

# The new master's pid, once it has its workers.
sub upgrade {
    my $old = $nginx->pid;
    kill 'USR2', $old;
    my $new = wait_for {
        my ($pid) = slurp($nginx->dir . '/nginx.pid') =~ /(\d+)/;
        $pid && $pid != $old
            && split(' ', slurp("/proc/$pid/task/$pid/children")) >= 2 && $pid;
    };
    ok $new, 'a new master beside the old one' or diag($nginx->error_log);
    return ($old, $new);
}

sub no_workers {
    my ($pid) = @_;

    return wait_for {
        !grep { slurp("/proc/$_/cmdline") =~ /^nginx: worker/ }
            split ' ', slurp("/proc/$pid/task/$pid/children");
    };
}

{
    my ($old, $new) = upgrade();
    $sender->wait_more(100);
    $rig->verify('two masters accept events', mixed => 1);
    kill 'WINCH', $old;
    ok no_workers($old), "the old one's workers end";
    $sender->wait_more(50);
    kill 'QUIT', $old;
    wait_for { state_of($old) =~ /[Z-]/ };
    VocTest::reap($old);
    $nginx->adopt($new);
    $sender->wait_more(50);
    $rig->verify('upgraded', mixed => 1);
}

{
    my ($old, $new) = upgrade();
    kill 'WINCH', $old;
    ok no_workers($old), "the old one's workers end";
    $sender->wait_more(50);
    kill 'HUP', $old;
    ok wait_for { 2 <= grep { slurp("/proc/$_/cmdline") =~ /^nginx: worker/ }
            split ' ', slurp("/proc/$old/task/$old/children") },
        'they are back';
    kill 'QUIT', $new;
    ok wait_for { state_of($new) =~ /[Z-]/ }, 'the new master ends';
    $sender->wait_more(50);
    $rig->verify('rolled back', mixed => 1);
}
$sender->stop;
$rig->marker;
$rig->verify('at rest', mixed => 1, nothing => 'refused');
$rig->drained;
$nginx->stop;

# ---- the same with Redis away: what the order is -------------------------------------------

# Another size: one journal after the other, whatever is in them, and also where
# the old worker cannot go on.
{
    $rig = VocTest::Rig->new(journal => '%%DIR%%/journal size=1m')->start;
    ($redis, $nginx) = ($rig->redis, $rig->nginx);
    $rig->marker;
    my $pusher = wait_for { $rig->pusher };

    $redis->pause;
    post($rig, 50);
    kill 'STOP', $pusher;
    $nginx->reload(http => $rig->http(journal => '%%DIR%%/journal size=2m'));
    post($rig, 50);
    $redis->resume;
    wait_for { $rig->pusher != $pusher };
    sleep 1;
    is scalar(grep {/"callid":"$rig->{senders}[-1]{name}-/} $rig->list), 0,
        "another size: the new file waits for the old one's worker";
    kill 'CONT', $pusher;
    $rig->verify('Redis away, a reload with another size: in order');

    $sender = $rig->send(%load);
    $redis->pause;
    $sender->wait_more(50);
    $nginx->reload(http => $rig->http(journal => '%%DIR%%/journal size=1m'));
    $sender->wait_more(50);
    $redis->resume;
    $sender->stop;
    $rig->verify('the same with requests in hand: in order');
    $nginx->stop;
}

# Where a master has ended, what it left comes first.
sub daemon_of_its_own {
    $rig = VocTest::Rig->new(journal => '%%DIR%%/journal size=4m');
    ($redis, $nginx) = ($rig->redis, $rig->nginx);
    $redis->start;
    daemon($nginx);
    $rig->marker;
    $redis->pause;
    post($rig, 100);
    my ($old, $new) = upgrade();
    post($rig, 100);
    kill 'WINCH', $old;
    ok no_workers($old), "the old one's workers end";
    post($rig, 100);
    return ($old, $new);
}

{
    my ($old, $new) = daemon_of_its_own();
    kill 'QUIT', $old;
    wait_for { state_of($old) =~ /[Z-]/ };
    VocTest::reap($old);
    $nginx->adopt($new);
    $nginx->wait_log(qr/was left behind, [1-9]\d* events in it/);
    $redis->resume;
    $rig->verify('Redis away, a binary upgrade: in order');
    $nginx->stop;
}

# The file of a master that lives is its own: it waits for its workers.
{
    my ($old, $new) = daemon_of_its_own();
    $redis->resume;
    ok wait_for { grep {/"callid":"$rig->{senders}[-1]{name}-0-50"/} $rig->list },
        "the new one's are pushed";
    ok !grep({/"callid":"$rig->{senders}[0]{name}-0-50"/} $rig->list),
        "the old one's wait";
    kill 'HUP', $old;
    $rig->verify('until a rollback, or its end', mixed => 1);
    kill 'QUIT', $new;
    ok wait_for { state_of($new) =~ /[Z-]/ }, 'the new master ends';
    $rig->verify('each once', mixed => 1);
    $nginx->stop;
}

# ---- two nginx on one directory --------------------------------------------------------------

{
    my $one = VocTest::Rig->new->start;
    my $dir = $one->nginx->dir . '/journal';
    my $two = VocTest::Rig->new(redis => $one->redis,
        journal => "$dir size=16m");
    $two->nginx->start(http => $two->http);
    $two->nginx->expect_log(qr/\[alert\].*exited on signal 9/);

    my $first  = $one->send(%load);
    my $second = $one->send(%load, port => $two->nginx->port);
    $one->verify('two nginx on one directory', mixed => 1,
        nothing => [qw(broken refused)]);
    is $one->journals, 2, 'each has a journal';

    $one->redis->pause;
    $first->wait_more(50);
    $one->nginx->kill;
    $one->redis->resume;
    $second->wait_more(50);
    $one->verify('one is killed: the other pushes its events', mixed => 1);
    ok wait_for { $one->journals == 1 }, 'and deletes its journal';

    $one->nginx->start;
    $first->wait_more(50);
    $_->stop for $first, $second;
    $one->marker;
    $one->verify('at rest', mixed => 1);
    $one->nginx->stop;
    $two->nginx->stop;
}

# ---- in memory ------------------------------------------------------------------------------------

# What the workers share outlives each of them.
{
    my $rig = VocTest::Rig->new(journal => 'off')->start;
    my $nginx  = $rig->nginx;
    my $sender = $rig->send(%load);

    $nginx->expect_log(qr/\[alert\].*exited on signal 9/);
    for my $which (0, 1) {
        $sender->wait_more(30);
        $rig->redis->pause;
        $sender->wait_more(30);
        kill 'KILL', $which ? $nginx->workers : any($nginx->workers);
        wait_for { $nginx->workers == 2 };
        $rig->redis->resume;
    }
    $sender->wait_more(50);
    $rig->verify('journal off: workers are killed with a backlog');
    $rig->redis->pause;
    $sender->wait_more(30);
    $nginx->reload;
    $rig->redis->resume;
    $sender->wait_more(30)->stop;
    $rig->marker;
    $rig->verify('journal off: a reload with a backlog');
}

# ---- a graceful stop with a backlog --------------------------------------------------------------

sub quit {
    my ($rig, $then) = @_;
    my $nginx = $rig->nginx;
    my $start = time;

    system($nginx->command('-s', 'quit', '-c', $nginx->dir . '/nginx.conf')) == 0
        or fail('nginx -s quit');
    $then->() if $then;
    ok wait_for { state_of($nginx->pid) =~ /[Z-]/ }, 'nginx ends';
    my $took = time - $start;
    $nginx->stop;
    return $took;
}

sub post {
    my ($rig, $n) = @_;

    $rig->send(connections => 2, rate => 0, count => $n / 2)->wait;
}

for my $journal ('%%DIR%%/journal size=16m', 'off') {
    my $rig = VocTest::Rig->new(redis => { appendonly => 1 },
        journal => $journal, queue => 'redis_timeout 60s;')->start;
    my ($redis, $nginx) = ($rig->redis, $rig->nginx);

    $rig->marker;
    $redis->cli(qw(CLIENT PAUSE 60000 WRITE));
    post($rig, 600);
    my $before = $redis->cli('LLEN', 'voc:events');
    my $took = quit($rig, sub { $redis->cli(qw(CLIENT UNPAUSE)) });
    cmp_ok $before, '<', 601, "journal $journal: a backlog";
    is $redis->cli('LLEN', 'voc:events'), 601, 'it is pushed at the end';
    cmp_ok $took, '<', 3, sprintf 'within two seconds (%.1f s)', $took;
    $rig->verify('each once');

    $nginx->start;
    $rig->marker;
    $redis->stop;
    post($rig, 600);
    $nginx->expect_log(qr/\[alert\].*600 events not pushed at exit, they are lost/)
        if $journal eq 'off';
    $took = quit($rig);
    cmp_ok $took, '<', 1.9, sprintf 'Redis away: it ends at once (%.1f s)', $took;
    $redis->start;
    like $nginx->error_log, qr/600 events not pushed at exit, they (?:are lost|wait)/,
        'and says what is left';
    if ($journal eq 'off') {
        is $redis->cli('LLEN', 'voc:events'), 602, 'and is lost';
        next;
    }
    $nginx->start;
    $rig->verify('what was left comes first');
    $rig->marker;
    $rig->verify('each once');
}

done_testing;
