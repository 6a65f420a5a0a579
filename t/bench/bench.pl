# The comparison of docs/performance.md, on this machine.  Started by
# `./build.sh bench [PART ...]`, which builds what it needs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin", "$FindBin::Bin/../lib";

use POSIX qw(strftime);
use VocBench qw(failures note stay_away);
use VocBench::Delivery;
use VocBench::Disk;
use VocBench::Pairs;
use VocBench::Report qw(load_results print_report save_results write_report);

my @parts = (
    [ pairs   => \&VocBench::Pairs::pairs ],
    [ workers => \&VocBench::Pairs::workers ],
    [ latency => \&VocBench::Delivery::latency ],
    [ drain   => \&VocBench::Delivery::drain ],
    [ pending => \&VocBench::Delivery::pending ],
    [ sync    => \&VocBench::Disk::sync ],
    [ disk    => \&VocBench::Disk::disk ],
    [ memory  => \&VocBench::Disk::memory ],
);
my %known = map { @$_ } @parts;

for (@ARGV) {
    die "bench: no part $_; there are ", join(' ', map { $_->[0] } @parts), "\n"
        if !$known{$_};
}

stay_away(1);
my $results = load_results();
my $start   = time;

for my $name (@ARGV ? @ARGV : map { $_->[0] } @parts) {
    note($name);
    my $result = $known{$name}->();
    $results->{$name} = {
        %$result,
        date     => strftime('%Y-%m-%d %H:%M', gmtime),
        seconds  => VocBench::seconds(),
        rounds   => VocBench::rounds(),
        failures => [ failures() ],
        machine  => VocBench::Report::machine(),
    };
    save_results($results);
}

write_report($results);
print_report($results);
note(sprintf 'took %d s', time - $start);
exit(failures() ? 1 : 0);
