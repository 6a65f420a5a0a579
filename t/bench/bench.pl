# The comparison of docs/performance.md, on this machine.  Started by
# `./build.sh bench [PART ...]`, which builds what it needs.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin", "$FindBin::Bin/../lib";

use POSIX qw(strftime sysconf times _SC_CLK_TCK);
use Time::HiRes qw(time);
use VocBench qw(failures note stay_away);
use VocBench::Delivery;
use VocBench::Disk;
use VocBench::Pairs;
use VocBench::Report qw(load_results print_report save_results write_report);
use VocTest qw(slurp);

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

# CPU seconds of all programs and of whoever else has this machine's cores, and
# of this program and all it has started and that has ended.  Interrupts, which
# is where the kernel receives, are no program's.
sub cpu_seconds {
    my ($user, $nice, $system, undef, undef, undef, undef, $steal)
        = slurp('/proc/stat') =~ /^cpu +(.*)/ ? split ' ', $1 : die;
    my (undef, @own) = times();
    my $own = 0;

    $own += $_ for @own;
    return map { $_ / sysconf(_SC_CLK_TCK) }
        $user + $nice + $system + $steal, $own;
}

stay_away(1);
my $results = load_results();
my $start   = time;

for my $name (@ARGV ? @ARGV : map { $_->[0] } @parts) {
    note($name);
    my ($all, $own) = cpu_seconds();
    my $begin  = time;
    my $result = $known{$name}->();
    my ($all_now, $own_now) = cpu_seconds();
    my $others = ($all_now - $all - $own_now + $own) / (time - $begin);
    # What was started before and has ended now is taken off for all its time.
    $others = 0 if $others < 0;
    note(sprintf 'other programs took %.0f %% of a core', 100 * $others)
        if $others > 0.05;
    $results->{$name} = {
        %$result,
        date     => strftime('%Y-%m-%d %H:%M', gmtime),
        seconds  => VocBench::seconds(),
        rounds   => VocBench::rounds(),
        others   => $others,    # of one core
        failures => [ failures() ],
        machine  => VocBench::Report::machine(),
    };
    save_results($results);
}

write_report($results);
print_report($results);
note(sprintf 'took %.0f s', time - $start);
exit(failures() ? 1 : 0);
