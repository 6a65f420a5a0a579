package VocBench::Chart;

# Bars of CPU time per request, as an SVG that is read on light and dark paper.

use strict;
use warnings;

use Exporter qw(import);
use VocBench::Tables qw(number);

our @EXPORT_OK = qw(chart);

my ($width, $left, $right) = (760, 230, 70);    # px
my ($bar, $gap, $block)    = (14, 3, 14);
my @kinds = ([ https => 'HTTPS' ], [ http => 'HTTP' ]);
my %short = (
    limit       => 'nginx return 200',
    module      => 'this module',
    'lua-timer' => 'Lua, timer',
    'lua-wait'  => 'Lua, waits for Redis',
    webdis      => 'webdis',
    go          => 'Go, redigo',
    node        => 'Node.js, Fastify, ioredis',
);

sub text {
    my ($x, $y, $class, $text) = @_;

    return qq(<text x="$x" y="$y" class="$class">$text</text>\n);
}

sub chart {
    my ($results) = @_;
    my $pairs = $results->{pairs};
    my ($most) = sort { $b <=> $a } map { $_->{cpu} }
        map { values %{ $pairs->{ $_->[0] } } } @kinds;
    my $scale = ($width - $left - $right) / $most;
    my $y     = 64;
    my $body  = '';

    for my $server (sort {
            $pairs->{http}{ $a->{name} }{cpu} <=> $pairs->{http}{ $b->{name} }{cpu}
        } @{ $pairs->{servers} })
    {
        my $name = $server->{name};
        my @bars = grep { $pairs->{ $_->[0] }{$name} } @kinds;
        my $own  = $name eq 'module' ? ' own' : '';
        my $middle = $y + @bars * ($bar + $gap) / 2 + 3;

        $body .= text($left - 10, $middle, "name$own", $short{$name} // $name);
        for (@bars) {
            my $cpu  = $pairs->{ $_->[0] }{$name}{cpu};
            my $long = sprintf '%.1f', $cpu * $scale;
            $body .= qq(<rect x="$left" y="$y" width="$long" height="$bar" rx="2")
                . qq( class="$_->[0]$own"/>\n)
                . text(sprintf('%.1f', $left + $long + 6), $y + $bar - 3, 'value',
                    number($cpu, 1));
            $y += $bar + $gap;
        }
        $y += $block;
    }

    $y -= $block - 6;
    my ($x1, $x2) = ($left, $left + 90);
    my $legend = qq(<rect x="$x1" y="38" width="12" height="12" rx="2" class="https"/>\n)
        . text($x1 + 18, 48, 'value', 'HTTPS')
        . qq(<rect x="$x2" y="38" width="12" height="12" rx="2" class="http"/>\n)
        . text($x2 + 18, 48, 'value', 'HTTP');

    return <<"END";
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $y" width="$width" height="$y" role="img" aria-label="CPU time of the server per request">
<style>
text { font: 13px system-ui, sans-serif; fill: #24292f; }
.name { text-anchor: end; }
.value { font-size: 12px; fill: #57606a; }
.title { font-size: 15px; font-weight: 600; }
.name.own { font-weight: 600; }
.https { fill: #8c959f; }
.http { fill: #c4cbd2; }
.https.own { fill: #0969da; }
.http.own { fill: #80b5f0; }
\@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.value { fill: #9da7b1; }
.https { fill: #8b949e; }
.http { fill: #4f5761; }
.https.own { fill: #4493f8; }
.http.own { fill: #265a9c; }
}
</style>
@{[ text($left, 22, 'title', 'CPU time of the server per request, µs (less is better)') ]}$legend
$body</svg>
END
}

1;
