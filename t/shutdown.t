# How workers end: what waits is pushed or kept, in a bounded time; the seat
# changes hands at a reload.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(sleep time);
use VocTest qw(slow slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;
my $event = '/voc?' . query(sample('callRecordingAvailable'));

sub http {
    my ($journal) = @_;

    return <<"END";
        log_format pid '\$pid';
        voc_webhook_https off;
        voc_webhook_allow 127.0.0.1;
        voc_webhook_queue calls {
            redis   127.0.0.1:@{[ $redis->port ]};
            journal $journal;
        }
        server {
            listen 127.0.0.1:%%PORT%%;
            access_log %%DIR%%/pids pid;
            location = /voc { voc_webhook calls; }
        }
END
}

sub nginx {
    my ($journal, %options) = @_;

    my $nginx = VocTest::Nginx->new(%options, http => http($journal))->start;
    ok eval { $nginx->wait_log(qr/taking events/) }, "journal $journal: up";
    return $nginx;
}

sub post {
    my ($nginx, $n) = @_;
    my $client = VocTest::Client->new(port => $nginx->port);

    for (1 .. $n) {
        $client->post($event)->{status} == 200 or return fail('not accepted');
    }
    $client->close;
}

sub left { my @lines = $_[0]->error_log =~ /\d+ events not pushed.*/g; return @lines }

# ---- a graceful stop --------------------------------------------------------------

# Redis comes back while nginx is about to end.
for my $journal ('%%DIR%%/journal', 'off') {
    my $nginx = nginx($journal);

    $redis->cli('DEL', 'voc:events');
    $redis->pause;
    post($nginx, 500);
    kill 'QUIT', $nginx->pid;
    ok wait_for { $nginx->error_log =~ /gracefully shutting down/ }, 'stopping';
    sleep 0.3;
    $redis->resume;
    $nginx->stop;
    is $redis->cli('LLEN', 'voc:events'), 500, 'what waits is pushed first';
    is_deeply [left($nginx)], [], 'nothing is left';
}

# A drained file goes before its cursor does; a stop in between waits for it, or
# nobody would ever delete it.
{
    $redis->cli('FLUSHALL');
    my $nginx = nginx('%%DIR%%/journal');

    for my $round (1 .. 12) {
        post($nginx, 50);
        $nginx->stop;
        my $seen = () = $nginx->error_log =~ /was left behind/g;
        $nginx->start;
        wait_for { $seen < (() = $nginx->error_log =~ /was left behind/g) };
        sleep rand 0.01;
    }
    $nginx->stop;
    my $journals = $nginx->dir . '/journal';
    my %files = map { /-([0-9a-f]{16})\.journal$/ ? ($1 => 1) : () } glob "$journals/*";
    my @orphans = grep { !$files{substr $_, -16} }
        $redis->cli('KEYS', '*:cursor:*');
    is_deeply \@orphans, [], 'no cursor without its journal';
}

# With nothing to push there is nothing to wait for.
{
    my $nginx = nginx('%%DIR%%/journal');

    post($nginx, 3);
    ok wait_for { $redis->cli('LLEN', 'voc:events') >= 503 }, 'all pushed';
    my $start = time;
    $nginx->stop;
    cmp_ok time - $start, '<', 1.5 * slow(), 'ends at once';
}

# [what happens to Redis, journal, seconds: from, to, left, further options]
for my $case (
    ['away',  '%%DIR%%/journal', 0,   1.5, 'they wait in the journal'],
    ['away',  'off',             0,   1.5, 'they are lost: the journal is off'],
    ['hangs', '%%DIR%%/journal', 1.8, 3.5, 'they wait in the journal'],
    ['hangs', '%%DIR%%/journal', 0.2, 1.5, 'they wait in the journal',
        main => 'worker_shutdown_timeout 300ms;'],
    )
{
    my ($what, $journal, $from, $to, $left, @options) = @$case;
    my $nginx = nginx($journal, @options);

    $nginx->expect_log(qr/\[alert\].* events not pushed at exit, they are lost/)
        if $journal eq 'off';
    $what eq 'away' ? $redis->stop : $redis->pause;
    post($nginx, 7);
    ok eval { $nginx->wait_log(qr/\[error\].*events stay in the journal/) },
        'told that Redis is away' if $what eq 'away';

    my $start = time;
    $nginx->stop;
    my $time = time - $start;
    cmp_ok $time, '>=', $from, "Redis $what, @options: $time s, it is given time";
    cmp_ok $time, '<', $to * slow(), 'but not for ever';
    is_deeply [left($nginx)], ["7 events not pushed at exit, $left"], 'said once';
    $what eq 'away' ? $redis->start : $redis->resume;
}

# A stop that is not graceful does not wait.
{
    my $nginx = nginx('%%DIR%%/journal');

    $redis->cli('DEL', 'voc:events');
    $redis->pause;
    post($nginx, 7);
    my $start = time;
    $nginx->terminate;
    cmp_ok time - $start, '<', 1.5 * slow(), 'SIGTERM: ends at once';
    $redis->resume;
    $nginx->start;
    is scalar(@{[$redis->wait_events(7)]}), 7, 'what was left is pushed then';
}

# ---- the seat ----------------------------------------------------------------------

# The old worker leaves what waits to the next one, without a word.
{
    my $nginx = nginx('%%DIR%%/journal');

    $redis->cli('DEL', 'voc:events');
    $redis->pause;
    post($nginx, 7);
    my $start = time;
    $nginx->reload(old => 1);
    cmp_ok time - $start, '<', 1.5 * slow(), 'the old workers do not wait for Redis';
    is_deeply [left($nginx)], [], 'nor is anything left';
    $redis->resume;
    is scalar(@{[$redis->wait_events(7)]}), 7, 'pushed by the new one';
}

# From memory to a file: what is in memory comes first.
{
    my $nginx = nginx('off');

    $redis->cli('DEL', 'voc:events');
    $redis->pause;
    post($nginx, 5);
    my ($old) = sort { $a <=> $b } $nginx->workers;
    $nginx->reload(http => $nginx->{http} =~ s/journal off/journal %%DIR%%\/journal/r);
    wait_for { 2 == (() = $nginx->error_log =~ /gracefully shutting down/g) };
    kill 'STOP', $old;
    post($nginx, 5);
    $redis->resume;
    sleep 0.4;
    kill 'CONT', $old;
    my @ids = map { $_->{seq} =~ s/:.*//r } $redis->wait_events(10);
    my ($file) = map {/-([0-9a-f]{16})\.journal$/} glob $nginx->dir . '/journal/*.journal';
    is join(' ', map { $_ eq $file ? 'file' : 'memory' } @ids),
        join(' ', ('memory') x 5, ('file') x 5), 'memory, then the file';

    # Into another directory, which is said.
    mkdir $nginx->dir . '/other';
    chmod 0777, $nginx->dir . '/other';
    $nginx->reload(http => $nginx->{http} =~ s/journal %%DIR%%\/journal/journal %%DIR%%\/other/r);
    like $nginx->error_log, qr/\[warn\].* leaves the journal directory "\S+\/journal"/,
        'another directory';
    post($nginx, 1);
    is scalar(@{[$redis->wait_events(11)]}), 11, 'and on it goes';
}

# More than the sockets hold while Redis does not read.
{
    my $nginx = VocTest::Nginx->new(workers => 1, http => <<"END")->start;
        voc_webhook_queue calls {
            redis   unix:@{[ $redis->socket ]};
            journal %%DIR%%/journal size=16m;
        }
        server {
            listen 127.0.0.1:%%PORT%%;
            location = /voc { voc_webhook calls; voc_webhook_https off; voc_webhook_allow all; }
        }
END
    my $client = VocTest::Client->new(port => $nginx->port);

    $redis->cli('DEL', 'voc:events');
    $redis->pause;
    $client->post("$event&n=$_&x=" . 'x' x 4000) for 1 .. 3000;
    $redis->resume;
    is scalar(@{[$redis->wait_events(3000, 5)]}), 3000, '12 MB in pieces';
}

# A connection whose requests the given worker serves, undef where it gets none.
sub served_by {
    my ($nginx, $pid) = @_;

    for (1 .. 300) {
        my $client = VocTest::Client->new(port => $nginx->port);
        my $before = -s $nginx->dir . '/pids';
        $client->post('/voc');
        wait_for { -s $nginx->dir . '/pids' > $before };
        my ($last) = slurp($nginx->dir . '/pids') =~ /(\d+)\n\z/;
        return $client if $last == $pid;
    }
    return undef;
}

# A reply of Redis and a wake-up meet in a worker that has lost its seat; where
# it holds the accept mutex, both are posted, and the first takes all down.
{
    my $nginx = nginx('%%DIR%%/journal', events => 'accept_mutex on; accept_mutex_delay 1ms;');
    my $sent  = 0;

    $redis->cli('DEL', 'voc:events');
    for (1 .. 12) {
        my @old    = sort { $a <=> $b } $nginx->workers;
        my $client = served_by($nginx, $old[1])
            // do { $nginx->reload(old => 1); next };

        $redis->pause;
        $client->post($event)->{status} == 200 and $sent++;
        sleep 0.02;
        kill 'STOP', $old[0];
        $redis->resume;
        kill 'HUP', $nginx->pid;
        my %old = map { $_ => 1 } @old;
        my @new;
        wait_for { 2 == (@new = sort { $a <=> $b } grep { !$old{$_} } $nginx->workers) };
        sleep 0.02;
        kill 'STOP', $new[0];
        $client->send("POST $event HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        sleep 0.01;
        kill 'CONT', $old[0];
        sleep 0.02;
        kill 'CONT', $new[0];
        $sent++ if $client->receive;    # else the old worker had closed it
        $client->close;
        wait_for { !grep { -d "/proc/$_" } @old };
    }
    is scalar(@{[$redis->wait_events($sent)]}), $sent, 'all on the list, once';
    unlike $nginx->error_log, qr/exited on signal/, 'no worker crashed';
}

# A request that ends after the pusher has: nobody would push its event.
{
    my $nginx = nginx('off', workers => 1);
    my $client = VocTest::Client->new(port => $nginx->port);
    my $request = "POST $event HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

    $nginx->expect_log(qr/\[warn\].*came too late/);
    post($nginx, 1);
    $client->send(substr $request, 0, 20);
    sleep 0.1;
    kill 'QUIT', $nginx->pid;
    ok wait_for { $nginx->error_log =~ /gracefully shutting down/ }, 'it ends';
    sleep 0.3;
    $client->send(substr $request, 20);
    my $answer = $client->receive;
    is $answer->{status}, 503, 'too late for a journal in memory';
    like $answer->{body}, qr/"reason":"journal_error"/, 'and why';
    like $nginx->error_log, qr/an event that came too late is refused with 503/, 'logged';
    $nginx->stop;
}

# A file that has to be left alone holds nothing up: the next one is pushed.
{
    my $nginx = nginx('%%DIR%%/journal size=1m');

    $nginx->expect_log(qr/\[(?:crit|alert)\].*truncated/);
    $redis->stop;
    post($nginx, 3);
    my ($file) = glob $nginx->dir . '/journal/*.journal';
    truncate $file, 100 or die $!;
    $nginx->reload(http => http('%%DIR%%/journal size=2m'), old => 1);
    post($nginx, 5);
    $redis->start;
    is scalar(@{[$redis->wait_events(5)]}), 5, 'those of the new file get there';
}

# A worker that is killed is replaced, and the next one pushes.
{
    my $nginx = nginx('%%DIR%%/journal');

    $nginx->expect_log(qr/\[alert\].*exited on signal 9/);
    $redis->cli('DEL', 'voc:events');
    my %old = map { $_ => 1 } $nginx->workers;
    kill 'KILL', keys %old;
    ok wait_for { 2 == grep { !$old{$_} } $nginx->workers }, 'new workers';
    post($nginx, 20);
    is scalar(@{[$redis->wait_events(20)]}), 20, 'pushed by the new one';
}

done_testing;
