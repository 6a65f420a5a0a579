# Random faults under steady load over HTTPS: every event that was answered
# 200 is on the list, once, in order, and nothing else is.
#
#   VOC_CAMPAIGN_SECONDS=600    for how long, default 20
#   VOC_CAMPAIGN_SEED=4711      the same faults at the same distances again

use strict;
use warnings;

use List::Util qw(shuffle);
use Test::More;
use Time::HiRes qw(sleep time);
use VocTest qw(wait_for);
use VocTest::Proxy;
use VocTest::Redis;
use VocTest::Rig;

my $seconds = $ENV{VOC_CAMPAIGN_SECONDS} // 20;
my $seed    = $ENV{VOC_CAMPAIGN_SEED}    // int(rand 1e9);

diag("VOC_CAMPAIGN_SEED=$seed VOC_CAMPAIGN_SECONDS=$seconds");
srand $seed;

sub any { return $_[rand @_] }

# By chance, with or without a consumer, and when events are synced.
my $sync     = any(qw(1s off always));
my $consumer = any(0, 1);
note("sync=$sync, ", $consumer ? 'a consumer' : 'no consumer');

my $redis = VocTest::Redis->new(appendonly => 1)->start;
my $proxy = VocTest::Proxy->new(to => $redis->port)->start;
my $rig   = VocTest::Rig->new(
    redis   => $redis,
    via     => $proxy->port,
    journal => "%%DIR%%/journal size=64m sync=$sync",
);
my $nginx = $rig->nginx->start(http => $rig->http);
$rig->consume('BLMOVE') if $consumer;
my $sender = $rig->send(connections => 4, rate => 150);

$nginx->expect_log(qr/\[alert\].*exited on signal 9/,
    qr/\[crit\].*a process holds the journal's lock/);

# What a killed master leaves goes on until it is killed as well.
sub start_again {
    $nginx->kill;
    $nginx->start;
}

sub stop_for_a_while {
    my ($pid) = @_;

    kill 'STOP', $pid or return;
    sleep 0.5;
    kill 'CONT', $pid;
}

my %faults = (
    'kill worker' => sub { kill 'KILL', any($nginx->workers) },
    'kill pusher' => sub { kill 'KILL', $rig->pusher // return },
    'kill master' => sub { kill 'KILL', $nginx->pid; sleep rand 0.5; start_again() },
    'kill nginx'  => sub { start_again() },
    'kill Redis'  => sub { $redis->kill; sleep rand 0.5; $redis->start },
    'stop Redis'  => sub { stop_for_a_while($redis->pid) },
    'stop worker' => sub { stop_for_a_while(any($nginx->workers)) },
    'stop pusher' => sub { stop_for_a_while($rig->pusher // return) },
    'stop nginx'  => sub { $nginx->restart },
    'terminate nginx' => sub { $nginx->terminate->start },
    'cut network' => sub {
        $proxy->mode('cut', 1 + int rand 5000);
        $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes));
        sleep 0.5;
        $proxy->mode('pass');
    },
    'no network'  => sub { $proxy->mode('blackhole'); sleep rand 2; $proxy->mode('pass') },
    'late bytes'  => sub { $proxy->mode('hold'); sleep 1.5; $proxy->mode('release') },
    'reload'      => sub { $nginx->reload },
    'CLIENT KILL' => sub { $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes)) },
    'SCRIPT FLUSH' => sub { $redis->cli(qw(SCRIPT FLUSH)) },
);

my $start   = time;
my $end     = $start + $seconds;
my $minutes = 0;
my %done;

# Each of them once, then at random.
my @names = shuffle(sort keys %faults);
while (time < $end) {
    my $name  = shift @names // any(sort keys %faults);
    my $pause = 0.2 + rand 1.8;
    note(sprintf '%6.1f s: %s', time - $start, $name);
    $done{$name}++;
    $faults{$name}->();
    wait_for { $nginx->workers == 2 } or BAIL_OUT('nginx has lost a worker');
    sleep $pause;

    # A long one says early what is wrong.
    next if time - $start < 60 * (1 + $minutes);
    $minutes++;
    $rig->verify("$minutes min", others => 1) or last;
}

$sender->wait_more(10)->stop;
note(join ', ', map {"$_: $done{$_}"} sort keys %done);

# All has come to rest.
$rig->marker;
$rig->verify('none lost, none twice, none out of order', others => 1) or diag("seed $seed");
# A worker stopped within the journal's lock makes the other answer 503.
my @others = $sender->others;
@others = grep { !/^503 \S+ journal_error / } @others
    if $nginx->error_log =~ /a process holds the journal's lock/;
is join("\n", @others), '', 'no answer but 200';
$rig->drained(kills => 1);
cmp_ok $sender->count('200'), '>', 20 * $seconds, 'there was load';
unlike $nginx->error_log, qr/exited on signal (?!9\b)/, 'no worker crashed';

done_testing;
