package VocTest::Ledger;

# Compares what senders were answered with what stands on the list.
#
#   my %problems = VocTest::Ledger::compare(
#       accepted => [[callids of a connection, in their order], ...],
#       sent     => { callid => 1, ... },
#       list     => [lines],
#       mixed    => 1,    # journals may alternate, connections lose their
#                         # order: a binary upgrade, old workers that linger
#   );
#   # name => [examples]; an empty list: none
#   #   lost     got its 200 and is not there
#   #   twice    is there more than once
#   #   strange  was never sent
#   #   seq      its number does not grow along the list, in its journal
#   #   journal  its journal comes back after another one
#   #   order    stands before one that its connection sent earlier
#   VocTest::Ledger::text(%problems);    # '' or what is wrong, in words

use strict;
use warnings;

sub compare {
    my %options = @_;
    my %problems = map { $_ => [] } qw(lost twice strange seq journal order);
    my (%place, %number, %ended);
    my ($n, $last) = (0, '');

    for my $line (@{ $options{list} }) {
        my ($callid) = $line =~ /"callid":"([^"]+)"/;
        my ($journal, $seq) = $line =~ /"seq":"([0-9a-f]{16}):(\d+)"\}\z/;
        if (!defined $callid || !$seq) {
            push @{ $problems{strange} }, $line;
            next;
        }

        push @{ $problems{strange} }, $callid if !$options{sent}{$callid};
        push @{ $problems{twice} },   $callid if $place{$callid};
        push @{ $problems{seq} },     "$callid ($journal:$seq)"
            if $seq <= ($number{$journal} // 0);
        $place{$callid} //= ++$n;
        $number{$journal} = $seq;

        next if $journal eq $last;
        push @{ $problems{journal} }, "$callid ($journal:$seq)"
            if $ended{$journal} && !$options{mixed};
        $ended{$last} = 1;
        $last = $journal;
    }

    for my $connection (@{ $options{accepted} }) {
        my $before = 0;
        for my $callid (@$connection) {
            my $place = $place{$callid};
            if (!$place) {
                push @{ $problems{lost} }, $callid;
                next;
            }
            push @{ $problems{order} }, $callid
                if $place < $before && !$options{mixed};
            $before = $place;
        }
    }
    return %problems;
}

sub text {
    my %problems = @_;
    my @texts;

    for my $name (sort keys %problems) {
        my @found = @{ $problems{$name} } or next;
        my $n = @found;
        splice @found, 5, @found, '...' if @found > 5;
        push @texts, "$name: $n, such as @found";
    }
    return join "\n", @texts;
}

1;
