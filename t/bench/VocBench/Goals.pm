package VocBench::Goals;

# What the module sets out to do, and whether a run has seen it.

use strict;
use warnings;

use Exporter qw(import);
use VocBench::Tables qw(number);

our @EXPORT_OK = qw(goals);

sub goal {
    my ($text, $value, $bound, $least, $unit) = @_;

    return if !defined $value;
    return {
        goal     => $text,
        measured => number($value, $unit ? undef : 3) . ($unit ? " $unit" : ''),
        met      => $least ? $value >= $bound : $value <= $bound,
    };
}

sub at_least { return goal(@_[0 .. 2], 1, $_[3]) }
sub at_most  { return goal(@_[0 .. 2], 0, $_[3]) }

# How many times as fast one is as another: by answers per second where both had
# their core to the full; by CPU time per request where what loads them, or
# Redis, was the limit.  (ratio, how it was found)
sub speed {
    my ($results, $one, $other) = @_;
    my ($r1, $r2) = @{$results}{ $one, $other };
    my $full = $r1->{busy} >= 0.95 && $r2->{busy} >= 0.95;

    return $other eq 'limit'
        ? $full ? ($r1->{rate_ratio}, 'throughput') : (1 / $r1->{cpu_ratio}, 'CPU time')
        : $full ? ($r1->{rate} / $r2->{rate}, 'throughput')
        :         ($r2->{cpu} / $r1->{cpu}, 'CPU time');
}

# The least of these: [ratio, rival, how].
sub against {
    my ($pairs, @rivals) = @_;
    my ($worst) = sort { $a->[0] <=> $b->[0] } map {
        my $scenario = $_;
        map {
            my ($ratio, $how) = speed($pairs->{$scenario}, 'module', $_);
            [ $ratio, $_, "$scenario, by $how" ];
        } grep { $pairs->{$scenario}{$_} } @rivals;
    } qw(http https);
    return $worst;
}

sub of_limit {
    my ($pairs, $scenario, $title, $bound) = @_;
    my ($ratio, $how) = speed($pairs->{$scenario}, 'module', 'limit');

    return at_least("$title: $bound of the limit or more, by $how", $ratio, $bound);
}

sub pairs {
    my ($pairs) = @_;
    my @waiting = map { $_->{name} } grep { $_->{waits} } @{ $pairs->{servers} };
    my $timer   = against($pairs, 'lua-timer');
    my $waiting = against($pairs, @waiting);

    return (
        of_limit($pairs, 'https', 'HTTPS',               '0.95'),
        of_limit($pairs, 'http',  'HTTP',                '0.90'),
        of_limit($pairs, 'new',   'new TLS connections', '0.98'),
        $timer ? at_least("1.15 times Lua with a timer or more ($timer->[2])",
            $timer->[0], 1.15) : (),
        $waiting ? at_least('twice what waits for Redis or more'
            . " ($waiting->[1], $waiting->[2])", $waiting->[0], 2) : (),
    );
}

sub latency {
    my ($part) = @_;
    my $r = $part->{10_000} or return;

    return (
        at_most('from the 200 to the list at 10,000/s: p50 below 0.3 ms',
            $r->{list_p50}, 0.3, 'ms'),
        at_most('from the 200 to the list at 10,000/s: p99 below 2 ms',
            $r->{list_p99}, 2, 'ms'),
    );
}

sub drain {
    my ($part) = @_;
    my ($least) = sort { $a <=> $b }
        map { $part->{$_}{rate} } grep {/^\d+$/} keys %$part;

    return at_least('a backlog drains at 200,000 events/s or more', $least,
        200_000, 'events/s');
}

sub pending {
    my ($part) = @_;
    my $r    = $part->{140_000};
    my $full = $r->{busy} >= 0.95 && $part->{0}{busy} >= 0.95;
    my $cost = 100 * ($full ? 1 - $r->{of_none} : $r->{cpu_of_none} - 1);

    return at_most('140,000 events waiting cost 3 % or less, by '
        . ($full ? 'throughput' : 'CPU time'), $cost, 3, '%');
}

sub sync {
    my ($part) = @_;

    return at_least('`sync=always`: 10,000 answers/s or more',
        $part->{always}{rate}, 10_000, 'answers/s');
}

sub goals {
    my ($results) = @_;
    my @parts = (
        [ pairs => \&pairs ], [ latency => \&latency ], [ drain => \&drain ],
        [ pending => \&pending ], [ sync => \&sync ],
    );

    return map {
        my ($name, $make) = @$_;
        $results->{$name} ? $make->($results->{$name}) : ();
    } @parts;
}

1;
