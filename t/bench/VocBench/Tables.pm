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
                number(100 * $r->{busy}, 0) . ' %',
                $server->{name} eq 'limit' ? '' : number($r->{redis}),
            ];
        }
        my $absent = join ', ', map { $_->{name} } @{ $pairs->{absent} };
        ($name => table(
            [ $title, 'answers/s', 'of the limit', 'CPU µs each',
              'times the limit', 'core busy', 'Redis CPU µs each' ], @rows)
            . ($absent ? "\nNot installed: $absent.\n" : ''));
    } @scenarios;
}

# name => Markdown.
sub tables {
    my ($results) = @_;
    my @parts = ([ pairs => \&pairs ]);

    return map {
        my ($name, $make) = @$_;
        $results->{$name} ? $make->($results->{$name}) : ();
    } @parts;
}

1;
