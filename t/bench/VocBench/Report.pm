package VocBench::Report;

# Results as JSON, Markdown and a chart in build/bench; and into docs/.

use strict;
use warnings;

use Exporter qw(import);
use File::Copy qw(copy);
use JSON::PP;
use VocBench qw(bench_dir cpus note);
use VocBench::Chart qw(chart);
use VocBench::Goals qw(goals);
use VocBench::Tables qw(tables);
use VocTest qw(root slurp);

our @EXPORT_OK = qw(load_results print_report save_results update_docs write_report);

my $json = JSON::PP->new->canonical->pretty;

sub put {
    my ($path, $text) = @_;

    open my $file, '>', "$path.new" or die "$path: $!";
    print {$file} $text;
    close $file or die "$path: $!";
    rename "$path.new", $path or die "$path: $!";
}

sub machine {
    my ($cpu)    = slurp('/proc/cpuinfo') =~ /^model name\s*: (.*)/m;
    my ($system) = slurp('/etc/os-release') =~ /^PRETTY_NAME="?([^"\n]*)/m;
    my $commit   = qx(git -C @{[ root() ]} describe --always --dirty 2>/dev/null);
    my ($nginx)  = qx(nginx -v 2>&1) =~ m{/(\S+)};
    my ($redis)  = qx(redis-server --version) =~ /v=(\S+)/;
    my ($kernel) = slurp('/proc/sys/kernel/osrelease') =~ /(\S+)/;

    chomp $commit;
    return {
        cpu => $cpu, cores => cpus(), system => $system, kernel => $kernel,
        commit => $commit, nginx => $nginx, redis => $redis,
    };
}

# Of this and of earlier runs, part by part.
sub load_results {
    my $text = slurp(bench_dir() . '/results.json');

    return $text ? $json->decode($text) : {};
}

sub save_results {
    my ($results) = @_;

    put(bench_dir() . '/results.json', $json->encode($results));
}

# ---- Markdown --------------------------------------------------------------------

sub goals_table {
    my ($results) = @_;

    return join '', "| goal | measured | |\n|---|---|---|\n", map {
        "| $_->{goal} | $_->{measured} | " . ($_->{met} ? 'met' : '**missed**') . " |\n"
    } goals($results);
}

sub about {
    my ($results) = @_;
    my (%of, $text);

    for my $part (sort keys %$results) {
        my $r = $results->{$part};
        my $m = $r->{machine};

        push @{ $of{"$m->{system}, Linux $m->{kernel}, $m->{cores} cores ($m->{cpu}),"
            . " nginx $m->{nginx}, Redis $m->{redis}; commit $m->{commit};"
            . " $r->{rounds} x $r->{seconds} s"} }, $part;
    }
    $text = join '', map { join(', ', @{ $of{$_} }) . ": $_.\n\n" } sort keys %of;
    my ($most) = sort { $results->{$b}{others} <=> $results->{$a}{others} }
        keys %$results;
    return $text . sprintf "Programs that had nothing to do with it took %.0f %% of"
        . " a core at most (during %s).\n", 100 * $results->{$most}{others}, $most;
}

# name => Markdown of each section that there are results for.
sub sections {
    my ($results) = @_;

    return (
        machine => about($results),
        goals   => goals_table($results),
        tables($results),
    );
}

sub markdown {
    my ($results) = @_;
    my @sections = sections($results);
    my $text = "# Benchmark\n";

    while (my ($name, $body) = splice @sections, 0, 2) {
        $text .= "\n## $name\n\n$body";
    }
    return $text;
}

sub write_report {
    my ($results) = @_;

    put(bench_dir() . '/results.md',  markdown($results));
    put(bench_dir() . '/results.svg', chart($results)) if $results->{pairs};
}

sub print_report {
    my ($results) = @_;

    print markdown($results), "\nIn ", bench_dir(), ": results.md, .json, .svg\n";
}

# Replaces, in docs/performance.md, what stands between <!-- bench NAME --> and <!-- end -->.
sub update_docs {
    my ($results) = @_;
    my $docs = root() . '/docs';
    my %sections = sections($results);
    my $page = slurp("$docs/performance.md");

    $page =~ s{(<!-- bench (\w+) -->\n).*?(<!-- end -->)}
        { $1 . ($sections{$2} // die "no results of $2: run ./build.sh bench\n") . $3 }gse;
    for my $part (sort keys %$results) {
        my $others = 100 * $results->{$part}{others};
        note(sprintf '%s: the machine was not quiet (%.0f %%)', $part, $others)
            if $others > 10;
    }
    write_report($results);
    put("$docs/performance.md", $page);
    copy(bench_dir() . "/results.$_", "$docs/performance.$_")
        || die "docs/performance.$_: $!\n" for qw(json svg);
}

1;
