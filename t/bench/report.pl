# Writes the report of the last ./build.sh bench again; with --docs also the
# figures, the chart and the data of docs/performance.md.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::Bin", "$FindBin::Bin/../lib";

use VocBench::Report qw(load_results print_report update_docs write_report);

my $results = load_results();
die "no results: run ./build.sh bench\n" if !%$results;
if (grep { $_ eq '--docs' } @ARGV) { update_docs($results) }
else {
    write_report($results);
    print_report($results);
}
