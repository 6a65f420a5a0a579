package VocBench::Pairs;

# Throughput and CPU time per request, server after server in turn, several
# rounds, over each kind of connection.

use strict;
use warnings;

use Exporter qw(import);
use Time::HiRes qw(time);
use VocBench qw(cpu_ns fail median note rounds stay_away summary wrk);
use VocBench::Servers qw(limit_and_module module start_servers stop_servers);
use VocTest qw(wait_for);
use VocTest::Redis;

our @EXPORT_OK = qw(pairs round workers);

my @scenarios = (
    [ http  => 'HTTP' ],
    [ https => 'HTTPS' ],
    # wrk resumes the session, where the server lets it.
    [ new   => 'a new TLS connection each' ],
    [ full  => 'a full handshake each' ],
);

# That all that was answered is on the list: as many as nginx has read, where
# it counts; else as many as wrk has seen, and perhaps those it has not waited
# for.  Waits for them; true if so.
sub all_there {
    my ($redis, $server, $before, $wrk) = @_;
    my $least = $wrk->{requests} - $wrk->{refused};
    my $length;
    my $there = sub { $length = $redis->cli('LLEN', $server->{key}) };

    if ($server->{requests}) {
        my $n = 0;
        wait_for { $n = $server->{requests}->() - $before; $there->() >= $n } 60;
        $wrk->{requests} = $n;
        # None more, either.
        return $length == $n && $n >= $least && $wrk->{refused} == 0;
    }
    wait_for { $there->() >= $least } 60;
    $wrk->{requests} = $length;
    return $length >= $least;
}

# One run of wrk; CPU time is taken until all is on the list.  No redis: it is
# away.
sub round {
    my ($redis, $server, $scenario) = @_;
    my @pids   = $server->{pids}->();
    my $before = $server->{requests} ? $server->{requests}->() : 0;
    my $cpu    = cpu_ns(@pids);
    my $redis_cpu = $redis ? cpu_ns($redis->pid) : 0;
    my $start  = time;

    my $wrk = wrk($server->{$scenario}, path => $server->{path},
        close => ($scenario =~ /new|full/ ? 1 : 0), webdis => $server->{webdis});
    my $seconds = time - $start;
    my $busy = (cpu_ns(@pids) - $cpu) / 1e9 / $seconds;
    my $load = $wrk->{cpu} + ($redis ? (cpu_ns($redis->pid) - $redis_cpu) / 1e9 : 0);

    if ($server->{key}) {
        if (!all_there($redis, $server, $before, $wrk)) {
            my $text = "$server->{name}, $scenario: of $wrk->{requests} events"
                . " ($wrk->{refused} refused) "
                . $redis->cli('LLEN', $server->{key}) . ' are on the list';
            $server->{name} eq 'module' ? fail($text) : note($text);
        }
        $redis->cli('DEL', $server->{key});
    }
    elsif ($server->{requests}) {
        $wrk->{requests} = $server->{requests}->() - $before;
    }
    note("$server->{name}, $scenario: $wrk->{errors}") if $wrk->{errors};

    my $n = $wrk->{requests} || 1;
    return {
        rate  => $wrk->{rate},
        cpu   => (cpu_ns(@pids) - $cpu) / 1e3 / $n,    # us per request
        busy  => $busy,                                # of one core
        load  => $load / $seconds,                     # so do wrk and Redis
        redis => $redis ? (cpu_ns($redis->pid) - $redis_cpu) / 1e3 / $n : 0,
    };
}

# Adds to each of the figures (name => [rounds]) the median of what it is of
# base's in the same round.
sub relate {
    my ($base, %rounds) = @_;

    return map {
        my $own = $rounds{$_};
        my %of  = map {
            my $figure = $_;
            ($figure => median(map {
                $own->[$_]{$figure} / $rounds{$base}[$_]{$figure}
            } 0 .. $#$own));
        } qw(rate cpu);
        ($_ => { %{ summary(@$own) }, rate_ratio => $of{rate}, cpu_ratio => $of{cpu} });
    } keys %rounds;
}

sub pairs {
    my $redis = VocTest::Redis->new->start;
    my ($servers, $absent) = start_servers($redis);
    my %result = (
        absent  => $absent,
        servers => [ map { { name => $_->{name}, title => $_->{title},
            waits => $_->{waits} ? 1 : 0 } } @$servers ],
    );

    # Compilers that work while programs run have seen all of it.
    for my $server (@$servers) {
        round($redis, $server, $_) for grep { $server->{$_} } qw(http https);
    }
    for my $scenario (@scenarios) {
        my ($name, $title) = @$scenario;
        my @here = grep { $_->{$name} } @$servers;
        my %rounds;

        for my $i (1 .. rounds()) {
            note("pairs: $title, round $i of " . rounds());
            # The other way round each time, so that neighbours change sides.
            for my $server ($i % 2 ? @here : reverse @here) {
                push @{ $rounds{ $server->{name} } },
                    round($redis, $server, $name);
            }
        }
        $result{$name} = { relate('limit', %rounds) };
    }
    stop_servers(@$servers);
    $redis->stop;
    return \%result;
}

# One worker and two, over HTTPS.  With two, nothing has a core of its own.
sub workers {
    my (%rounds, %nginx);

    stay_away(0);
    my $redis = VocTest::Redis->new->start;
    $nginx{$_} = module($redis, workers => $_, affinity => '') for 1, 2;
    for my $i (1 .. rounds()) {
        note("workers: round $i of " . rounds());
        for my $n (1, 2) {
            for my $server (limit_and_module($nginx{$n})) {
                push @{ $rounds{$n}{ $server->{name} } },
                    round($redis, $server, 'https');
            }
        }
    }
    $_->stop for values %nginx, $redis;
    stay_away(1);
    return { map { $_ => { relate('limit', %{ $rounds{$_} }) } } 1, 2 };
}

1;
