package VocBench::Disk;

# What the journal's sync costs, how answers fare beside another program that
# writes, and what a worker holds in memory.

use strict;
use warnings;

use Exporter qw(import);
use VocBench qw(load note rounds seconds summary);
use VocBench::Pairs qw(round);
use VocBench::Program;
use VocBench::Servers qw(limit_and_module module);
use VocTest qw(private_dir slurp);
use VocTest::Redis;

our @EXPORT_OK = qw(disk memory sync);

my @modes = qw(off 1s always);
my $rate  = 5000;               # events per second beside another writer

sub some { return rounds() < 3 ? rounds() : 3 }

sub start {
    my $redis = VocTest::Redis->new->start;

    return ($redis, map { $_ => module($redis, sync => $_) } @modes);
}

sub sync {
    my ($redis, %nginx) = start();
    my %rounds;

    for my $i (1 .. some()) {
        for my $mode ($i % 2 ? @modes : reverse @modes) {
            note("sync=$mode: round $i of " . some());
            my (undef, $server) = limit_and_module($nginx{$mode});
            push @{ $rounds{$mode} }, round($redis, $server, 'https');
        }
    }
    $_->stop for values %nginx, $redis;
    return { map { $_ => summary(@{ $rounds{$_} }) } @modes };
}

sub disk {
    my ($redis, %nginx) = start();
    my $file = private_dir() . '/ballast';
    my %result;

    for my $writer (0, 1) {
        my $dd = $writer && VocBench::Program->new('sh', '-c',
            "while :; do dd if=/dev/zero of=$file bs=1M count=128 conv=fsync; done");
        for my $mode (@modes) {
            my @rounds;

            for my $i (1 .. some()) {
                note("disk: sync=$mode, ", $writer ? 'beside a writer' : 'alone',
                    ", round $i of " . some());
                my $load = load($nginx{$mode}->port, $rate * seconds(),
                    rate => $rate, redis => $redis);
                push @rounds, { late => $load->{late} / $load->{sent},
                    map { $_ => $load->{answer}{$_} } qw(p50 p99 p999 max) };
            }
            $result{$mode}{ $writer ? 'writer' : 'alone' } = summary(@rounds);
        }
        $dd->stop if $dd;
    }
    $_->stop for values %nginx, $redis;
    return { %result, rate => $rate };
}

# KB of each of nginx's workers: rss, pss, and what is private to it.
sub sizes {
    my ($nginx) = @_;

    return [ map {
        my %figure = slurp("/proc/$_/smaps_rollup") =~ /^(\w+): +(\d+) kB/mg;
        { rss => $figure{Rss}, pss => $figure{Pss},
            private => $figure{Anonymous} };
    } $nginx->workers ];
}

sub memory {
    my $redis = VocTest::Redis->new->start;
    my %result;

    for my $workers (1, 2) {
        my $nginx = module($redis, workers => $workers);
        $result{$workers}{fresh} = sizes($nginx);
        note("memory: $workers workers");
        # Once around the journal.
        load($nginx->port, 250_000, redis => $redis);
        $result{$workers}{used} = sizes($nginx);
        $nginx->stop;
    }
    $redis->stop;
    return \%result;
}

1;
