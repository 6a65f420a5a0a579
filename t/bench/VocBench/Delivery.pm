package VocBench::Delivery;

# From the answer to the list: how long it takes, how fast a backlog drains, and
# what a backlog costs those who send.

use strict;
use warnings;

use Exporter qw(import);
use Time::HiRes qw(sleep time);
use VocBench qw(cpu_ns fail load note rounds seconds summary);
use VocBench::Pairs qw(round);
use VocBench::Servers qw(limit_and_module module);
use VocTest qw(wait_for);
use VocTest::Redis;

our @EXPORT_OK = qw(drain latency pending);

my @rates    = (100, 10_000);              # events per second
my @backlogs = (100_000, 140_000);         # events
my @pending  = (0, 10_000, 140_000);

# The rounds of parts whose figures vary less.
sub some { return rounds() < 3 ? rounds() : 3 }

sub latency {
    my $redis = VocTest::Redis->new->start;
    my $nginx = module($redis);
    my %result;

    load($nginx->port, 10_000, redis => $redis);    # all is warm
    for my $rate (@rates) {
        # 500 events at least, for a p99 that means something.
        my $count = $rate * seconds();
        $count = 500 if $count < 500;
        my @rounds;

        for my $i (1 .. some()) {
            note("latency: $rate/s, round $i of " . some());
            my $load = load($nginx->port, $count, rate => $rate, redis => $redis);
            my %figures = (late => $load->{late} / $count);
            for my $what (qw(answer list whole)) {
                $figures{"${what}_$_"} = $load->{$what}{$_} for qw(p50 p99 p999);
            }
            push @rounds, \%figures;
        }
        $result{$rate} = { %{ summary(@rounds) }, events => $count };
    }
    $_->stop for $nginx, $redis;
    return \%result;
}

# Takes in events while Redis is not there; true if all were accepted.
sub fill {
    my ($redis, $nginx, $count) = @_;

    $redis->stop;
    return $count ? load($nginx->port, $count) : undef;
}

# Events per second from the first to the last on the list, and Redis' CPU time
# for each in us.
sub drained {
    my ($redis, $count) = @_;
    my $length = 0;

    $redis->start;
    wait_for { ($length = $redis->cli('LLEN', 'voc:events')) > 0 } 30;
    my ($first, $start, $cpu) = ($length, time, cpu_ns($redis->pid));
    wait_for { ($length = $redis->cli('LLEN', 'voc:events')) >= $count } 60;
    my %figures = (
        rate  => ($count - $first) / (time - $start),
        redis => (cpu_ns($redis->pid) - $cpu) / 1e3 / ($count - $first),
    );
    sleep 0.05;
    $length = $redis->cli('LLEN', 'voc:events');
    fail("drain: $length on the list, $count were accepted") if $length != $count;
    $redis->cli('DEL', 'voc:events');
    return %figures;
}

sub drain {
    my $redis = VocTest::Redis->new->start;
    my $nginx = module($redis, size => '128m');
    my %result;

    for my $i (1 .. some()) {
        for my $count (@backlogs) {
            note("drain: $count, round $i of " . some());
            my $load = fill($redis, $nginx, $count);
            push @{ $result{$count} }, {
                drained($redis, $count),
                accepted => $count / $load->{seconds},
            };
        }
    }
    $_->stop for $nginx, $redis;
    return { map { $_ => summary(@{ $result{$_} }) } keys %result };
}

sub pending {
    my $redis = VocTest::Redis->new->start;
    my $nginx = module($redis, size => '1g');
    my (undef, $server) = limit_and_module($nginx);
    my $requests = $server->{requests};
    my %rounds;

    # What is taken in meanwhile is looked for afterwards, with the backlog.
    my $away = { %$server, name => 'module, Redis away', key => undef };
    for my $i (1 .. some()) {
        for my $count ($i % 2 ? @pending : reverse @pending) {
            note("pending: $count, round $i of " . some());
            my $before = $requests->();
            fill($redis, $nginx, $count);
            push @{ $rounds{$count} }, round(undef, $away, 'https');
            drained($redis, $requests->() - $before);
        }
    }
    $_->stop for $nginx, $redis;

    # Each round's figures beside those with none waiting.
    for my $count (@pending) {
        for my $i (0 .. $#{ $rounds{$count} }) {
            my ($own, $none) = map { $rounds{$_}[$i] } $count, 0;
            $own->{of_none}     = $own->{rate} / $none->{rate};
            $own->{cpu_of_none} = $own->{cpu} / $none->{cpu};
        }
    }
    return { map { $_ => summary(@{ $rounds{$_} }) } @pending };
}

1;
