package VocBench;

# What the parts of the benchmark share: settings, cores, CPU time from the
# kernel's accounting, wrk, medians.
#
# Environment: VOC_BENCH_SECONDS (of one round, default 2), VOC_BENCH_ROUNDS
# (default 9: the medians of fewer move with the machine).

use strict;
use warnings;

use Exporter qw(import);
use JSON::PP qw(decode_json);
use VocTest qw(build_dir root slurp);

our @EXPORT_OK = qw(bench_dir cpu_ns cpus fail failures load median note rounds
    seconds server_mask separate summary stay_away wrk);

sub seconds { return $ENV{VOC_BENCH_SECONDS} || 2 }
sub rounds  { return $ENV{VOC_BENCH_ROUNDS}  || 9 }

sub bench_dir { return build_dir() . '/bench' }

# Progress, for whoever waits.
sub note { print STDERR "bench: @_\n" }

my @failures;

sub failures { return @failures }
sub fail     { push @failures, "@_"; note("FAILED: @_") }

# ---- cores -------------------------------------------------------------------

my ($cpus) = grep { $_ > 0 } map { scalar(() = /^processor/mg) }
    slurp('/proc/cpuinfo');

sub cpus { return $cpus }

# Whether servers get core 0, and all that loads them the others.
sub separate { return $cpus > 1 }

# This process, and what it starts, leaves core 0 to the servers; or, for a
# while, does not.
sub stay_away {
    my ($away) = @_;
    my $first = $away && separate() ? 1 : 0;

    system("taskset -p -c $first-@{[ $cpus - 1 ]} $$ >/dev/null") == 0
        or die 'no taskset';
}

# In front of a command that is to run on the servers' core.
sub server_mask { return separate() ? qw(taskset -c 0) : () }

# CPU time in ns that the processes' threads have had.
sub cpu_ns {
    my (@pids) = @_;
    my $sum = 0;

    for my $path (map { glob "/proc/$_/task/*/schedstat" } @pids) {
        $sum += $1 if slurp($path) =~ /^(\d+)/;
    }
    return $sum;
}

# ---- figures -----------------------------------------------------------------

sub median {
    my @sorted = sort { $a <=> $b } grep {defined} @_ or return undef;

    return ($sorted[ $#sorted / 2 ] + $sorted[ @sorted / 2 ]) / 2;
}

# Medians of several rounds' figures.
sub summary {
    my (@rounds) = @_;

    return {
        rounds => scalar @rounds,
        map {
            my $name = $_;
            ($name => median(map { $_->{$name} } @rounds));
        } keys %{ $rounds[0] }
    };
}

# Runs load.c: port, count; options: rate, connections, redis (a VocTest::Redis
# whose list is emptied meanwhile).  Its figures; fails where not all is well.
sub load {
    my ($port, $count, %options) = @_;
    my $redis   = $options{redis};
    my @command = (
        bench_dir() . '/load', '-c', $options{connections} // 50,
        '-r', $options{rate} // 0, $port, $count,
        $redis ? $redis->port : (),
    );

    open my $pipe, '-|', @command or die "load: $!";
    my $text = join '', <$pipe>;
    close $pipe or die "@command failed\n";
    my $result = decode_json($text);
    fail("load: $text") if $result->{good} != $count
        || $redis && $result->{arrived} != $count;
    return $result;
}

# Runs wrk against a URL without path; options: path, close (a connection per
# request), connections, seconds, webdis.
sub wrk {
    my ($url, %options) = @_;
    my $threads = $cpus > 2 ? 2 : 1;
    my @command = (
        'wrk', "-t$threads", '-c' . ($options{connections} // 50),
        '-d' . ($options{seconds} // seconds()) . 's',
        '-s', root() . '/t/bench/load.lua',
        $options{close} ? ('-H', 'Connection: close') : (),
        $url, '--', $options{path}, $options{webdis} ? 'webdis' : (),
    );

    my @before = times;
    open my $pipe, '-|', @command or die "wrk: $!";
    my $text = join '', <$pipe>;
    close $pipe or die "wrk failed: $text";
    my @after = times;
    my ($requests) = $text =~ /(\d+) requests in/     or die "wrk: $text";
    my ($rate)     = $text =~ m{Requests/sec:\s+([\d.]+)} or die "wrk: $text";
    my ($refused)  = $text =~ /Non-2xx or 3xx responses: (\d+)/;
    my ($errors)   = $text =~ /Socket errors: (.*)/;

    # Where the server closes, wrk may find a read that fails.
    undef $errors if $options{close};
    return {
        requests => $requests,
        rate     => $rate,
        cpu      => $after[2] + $after[3] - $before[2] - $before[3],    # s
        refused  => $refused // 0,
        errors   => $errors,
    };
}

1;
