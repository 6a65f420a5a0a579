package VocBench::Tables;

# Markdown tables of the results.

use strict;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(number table tables);

# 3 significant digits, thousands set off.
sub number {
    my ($value, $digits) = @_;

    return '' if !defined $value;
    my $text = sprintf '%.*f',
        $digits // ($value >= 100 ? 0 : $value >= 10 ? 1 : 2), $value;
    1 while $text =~ s/^(-?\d+)(\d{3})/$1,$2/;
    return $text;
}

sub table {
    my ($head, @rows) = @_;

    return join '', map {"$_\n"} '| ' . join(' | ', @$head) . ' |',
        '|---' . '|---:' x $#$head . '|',
        map { '| ' . join(' | ', map { $_ // '' } @$_) . ' |' } @rows;
}

sub pairs {
    my ($pairs) = @_;
    my @scenarios = (
        [ http  => 'HTTP, keep-alive' ],
        [ https => 'HTTPS, keep-alive' ],
        [ new   => 'HTTPS, a new connection each, session resumed' ],
        [ full  => 'HTTPS, a new connection each, full handshake' ],
    );

    return map {
        my ($name, $title) = @$_;
        my @rows;

        for my $server (@{ $pairs->{servers} }) {
            my $r = $pairs->{$name}{ $server->{name} } or next;
            push @rows, [
                $server->{title}, number($r->{rate}, 0),
                number($r->{rate_ratio}, 3), number($r->{cpu}),
                number($r->{cpu_ratio}),
                percent($r->{busy}), percent($r->{load}),
                $server->{name} eq 'limit' ? '' : number($r->{redis}),
            ];
        }
        my $absent = join ', ',
            map {"$_->{name} ($_->{reason})"} @{ $pairs->{absent} };
        ($name => table(
            [ $title, 'answers/s', 'of the limit', 'CPU µs each',
              'times the limit', 'core busy', 'wrk and Redis',
              'Redis CPU µs each' ], @rows)
            . ($absent ? "\nLeft out: $absent.\n" : ''));
    } @scenarios;
}

sub percent { return defined $_[0] ? number(100 * $_[0], $_[1] // 0) . ' %' : '' }

sub workers {
    my ($part) = @_;

    return workers => table(
        [ 'HTTPS, keep-alive, no core set apart', 'answers/s', 'of the limit',
          'CPU µs each', 'times the limit' ],
        map {
            my $n = $_;
            map {
                my $r = $part->{$n}{$_};
                [ ($n == 1 ? 'one worker' : 'two workers') . ', '
                    . ($_ eq 'limit' ? '`return 200`' : 'this module'),
                  number($r->{rate}, 0), number($r->{rate_ratio}, 3),
                  number($r->{cpu}), number($r->{cpu_ratio}) ];
            } qw(limit module);
        } 1, 2);
}

# The numeric keys of a part.
sub counts { return sort { $a <=> $b } grep {/^\d+$/} keys %{ $_[0] } }

sub latency {
    my ($part) = @_;

    return latency => table(
        [ 'events a second, ms', 'p50', 'p99', 'p99.9', 'sent late' ],
        map {
            my $rate = $_;
            my $r    = $part->{$rate};
            map {
                my ($what, $title) = @$_;
                [ number($rate, 0) . ", $title",
                  map({ number($r->{"${what}_$_"}, 2) } qw(p50 p99 p999)),
                  $what eq 'whole' ? percent($r->{late}, 1) : '' ];
            } [ list => 'from the 200 to the list' ],
              [ answer => 'from the request to the 200' ],
              [ whole => 'from the request to the list' ];
        } counts($part));
}

sub drain {
    my ($part) = @_;

    return drain => table(
        [ 'events waiting', 'drained, events/s', 'Redis CPU µs each',
          'taken in without Redis, answers/s' ],
        map { [ number($_, 0), number($part->{$_}{rate}, 0),
            number($part->{$_}{redis}), number($part->{$_}{accepted}, 0) ] }
            counts($part));
}

sub pending {
    my ($part) = @_;

    return pending => table(
        [ 'events waiting, Redis away', 'answers/s', 'of none waiting',
          'CPU µs each', 'times none waiting', 'core busy' ],
        map {
            my $r = $part->{$_};
            [ number($_, 0), number($r->{rate}, 0), number($r->{of_none}, 3),
              number($r->{cpu}), number($r->{cpu_of_none}, 3),
              percent($r->{busy}) ];
        } counts($part));
}

sub sync {
    my ($part) = @_;

    return sync => table(
        [ 'HTTPS, keep-alive, 50 connections', 'answers/s', 'CPU µs each', 'core busy' ],
        map {
            my $r = $part->{$_};
            [ "`sync=$_`", number($r->{rate}, 0), number($r->{cpu}),
              percent($r->{busy}) ];
        } qw(off 1s always));
}

sub disk {
    my ($part) = @_;

    return disk => table(
        [ number($part->{rate}, 0) . ' events a second, ms to the answer',
          'p50', 'p99', 'p99.9', 'most', 'sent late' ],
        map {
            my $mode = $_;
            map {
                my $r = $part->{$mode}{$_};
                [ "`sync=$mode`, " . ($_ eq 'alone' ? 'alone' : 'beside a writer'),
                  map({ number($r->{$_}, 2) } qw(p50 p99 p999 max)),
                  percent($r->{late}, 1) ];
            } qw(alone writer);
        } qw(off 1s always));
}

sub memory {
    my ($part) = @_;

    return memory => table(
        [ 'MB', 'resident', 'its share (PSS)', 'private' ],
        map {
            my $n = $_;
            map {
                my $when = $_;
                my $i    = 0;
                map {
                    my $r = $_;
                    [ ($n == 1 ? 'the only worker' : 'worker ' . $i++ . ' of two')
                        . ($when eq 'fresh' ? ', fresh' : ', after 250,000 events'),
                      map { number($r->{$_} / 1024, 1) } qw(rss pss private) ];
                } @{ $part->{$n}{$when} };
            } qw(fresh used);
        } 1, 2);
}

# What follows from CPU time for those who buy machines.
sub sizing {
    my ($pairs, $drain) = @_;
    my %cpu  = map { $_ => $pairs->{$_}{module}{cpu} } qw(http https new full);
    my %nginx = map { $_ => $pairs->{$_}{limit}{cpu} } qw(http https new full);
    my ($full) = map { $drain->{$_}{redis} } (counts($drain))[-1];
    my $alone  = $pairs->{https}{module}{redis};
    my $default = 160_000;    # events in a journal of 64m

    return sizing => table(
        [ 'one core', 'CPU µs each', 'of them nginx itself', 'events/s at most' ],
        map({
            my ($name, $title) = @$_;
            [ $title, number($cpu{$name}), number($nginx{$name}),
              number(1e6 / $cpu{$name}, 0) ];
        } [ https => 'of nginx, HTTPS, keep-alive' ],
          [ http => 'of nginx, HTTP behind a proxy' ],
          [ new => 'of nginx, a new connection each, session resumed' ],
          [ full => 'of nginx, a new connection each, full handshake' ]),
        [ 'of Redis, beside one worker under full load', number($alone), '',
          number(1e6 / $alone, 0) ],
        [ 'of Redis, full batches', number($full), '', number(1e6 / $full, 0) ],
    ) . sprintf "\nA worker that has a core to itself and is sent as much as it can"
        . " answer over HTTPS fills the default journal of 64m (%s events, counted"
        . " with 400 bytes) %.1f s after Redis has gone.\n",
        number($default, 0), $default * $cpu{https} / 1e6;
}

# name => Markdown.
sub tables {
    my ($results) = @_;
    my @parts = (
        [ pairs => \&pairs ], [ workers => \&workers ], [ latency => \&latency ],
        [ drain => \&drain ], [ pending => \&pending ], [ sync => \&sync ],
        [ disk => \&disk ], [ memory => \&memory ],
    );
    my @both = @{$results}{qw(pairs drain)};

    return map({
        my ($name, $make) = @$_;
        $results->{$name} ? $make->($results->{$name}) : ();
    } @parts), $both[0] && $both[1] ? sizing(@both) : ();
}

1;
