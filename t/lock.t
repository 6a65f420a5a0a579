# A worker that is stopped, or killed, within the journal's lock, at each point
# of an append and of an acknowledgement: the others answer 503 at once, and
# take events again as soon as it goes on or is gone.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use VocTest qw(private_dir root session slow slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Rig;

# ---- processes that stop where they are told to ------------------------------------

# nginx takes voc_journal_point from here: who comes to a point whose name is
# that of a file removes the file and stops.
my $dir = private_dir();
chmod 0777, $dir;
open my $source, '>', "$dir/points.c" or die $!;
print $source <<'END';
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "voc_journal_file.h"

#define NAME(point) [VOC_POINT_##point] = #point

static const char *const names[] = {
    NAME(LOCKED),    NAME(MOVED),     NAME(SKIPPED),   NAME(HEADER),
    NAME(PAYLOAD),   NAME(END),       NAME(PUBLISHED), NAME(UNLOCKED),
    NAME(TAIL_FILE), NAME(TAIL_TURN), NAME(TAIL_DONE),
};

static void
here(voc_point_e point, voc_journal_t *journal)
{
    char path[256];

    if (journal != NULL && point < sizeof(names) / sizeof(names[0]) &&
        snprintf(path, sizeof(path), "%s/%s", DIRECTORY, names[point]) > 0 &&
        unlink(path) == 0) {
        raise(SIGSTOP);
    }
}

void (*voc_journal_point)(voc_point_e, voc_journal_t *) = here;
END
close $source;

system("@{[ $ENV{CC} // 'gcc' ]} -std=c11 -D_GNU_SOURCE -shared -fPIC"
    . " -I@{[ root() ]}/ngx_http_voc_webhook_module/core"
    . " -DDIRECTORY='\"$dir\"' -o $dir/points.so $dir/points.c") == 0
    or die 'no compiler';
$ENV{VOC_PRELOAD} = join ' ', $ENV{VOC_PRELOAD} // (), "$dir/points.so";

my ($rig, $nginx, $sender);

sub begin {
    my ($sync) = @_;

    $rig = VocTest::Rig->new(workers => 3,
        journal => "%%DIR%%/journal size=64k sync=$sync")->start;
    $nginx = $rig->nginx;
    $nginx->{workers} = 3;
    $nginx->reload(old => 1);
    $nginx->expect_log(qr/\[alert\].*exited on signal 9/,
        qr/\[crit\].*a process holds the journal's lock/,
        qr/\[crit\].*the journal is full/);
    $sender = $rig->send(connections => 4, rate => 80);
}

begin('1s');

sub state_of { return (slurp("/proc/$_[0]/stat") =~ /\) (\S)/)[0] // '-' }

# The process that has stopped at this point.
sub stopped_at {
    my ($point) = @_;

    open my $file, '>', "$dir/$point" or die $!;
    close $file;
    my ($pid) = wait_for {
        (grep { state_of($_) eq 'T' } session($nginx->{session}))[0]
    };
    return $pid;
}

# ---- what the others answer ----------------------------------------------------------

my (@refused, $probes);

sub client {
    return VocTest::Sender::Client->new(port => $nginx->port, tls => 1,
        timeout => 20);
}

# "status reason retry-after=..." of one event.
sub probe {
    my ($client) = @_;
    my $callid = 'probe-' . ++$probes;

    push @{ $rig->{markers} }, $callid;
    my $answer = eval { $client->post('/voc?'
            . query(sample('callRecordingAvailable', callid => $callid))) }
        // return 'none';
    return '200' if $answer->{status} == 200;
    push @refused, $callid;
    return "$answer->{status} " . $answer->json->{reason} . ' retry-after='
        . ($answer->{headers}{'retry-after'} // '');
}

# One append of a worker waits 400 ms for the lock, the others only look.
sub all_refused {
    my ($name)  = @_;
    my @clients = map { client()->connect } 1 .. 3;
    my $start   = time;
    my @answers = map { my $client = $_; map { probe($client) } 1 .. 7 } @clients;
    my $took    = time - $start;

    is scalar(grep { $_ ne '503 journal_error retry-after=1' } @answers), 0,
        "$name: the others answer 503 journal_error" or diag("@answers");
    cmp_ok $took, '<', 3 * slow(), 'without waiting each';
}

sub accepted_again {
    my ($name) = @_;

    return ok wait_for { probe(client()) eq '200' },
        "$name: events are accepted again";
}

# Nothing that was refused is on the list, either.
sub right {
    my ($name, $more) = @_;

    $sender->wait_more($more // 20);
    my $good = $rig->verify($name, others => 1, nothing => 'refused');
    my @others = $sender->others;
    $good &= is scalar(grep { !/^503 \S+ (?:journal_error|queue_full) retry-after=1$/ } @others), 0,
        'no other answer than 200 and 503' or diag("@others");
    my %refused = map { $_ => 1 } @refused, map { (split ' ')[1] } @others;
    $good &= is join(' ', grep { $refused{$_} }
        map {/"callid":"([^"]+)"/} $rig->list), '', 'nothing that was refused';
    return $good;
}

sub at_points {
    my @points = @_;

    for my $at (map { ["CONT", $_], ["KILL", $_] } @points) {
        my ($signal, $point) = @$at;
        my $name = "$signal at $point";
        my $pid  = stopped_at($point);

        ok $pid, "$name: a worker is stopped there" or next;
        all_refused($name);
        kill $signal, $pid;
        accepted_again($name);
        ok wait_for { $nginx->workers == 3 }, 'all workers are there';
        right($name) or die $nginx->error_log;
    }
}

sub at_rest {
    $sender->stop;
    $rig->marker;
    right('at rest', 0);
    $rig->drained(kills => 1);
    unlike $nginx->error_log, qr/exited on signal (?!9\b)/, 'no worker crashed';
    unlike $nginx->error_log,
        qr/cannot be written|Structure needs cleaning|fdatasync/,
        'nor was a journal given up';
}

at_points(qw(LOCKED MOVED SKIPPED HEADER PAYLOAD END PUBLISHED
    TAIL_FILE TAIL_TURN TAIL_DONE));

# ---- reload and stop meanwhile ----------------------------------------------------------

for my $signal (qw(CONT KILL)) {
    my $pid = stopped_at('PAYLOAD');

    $nginx->reload;
    all_refused('a reload meanwhile');
    kill $signal, $pid;
    accepted_again($signal);
    ok wait_for { session($nginx->{session}) == 4 }, 'the old workers end';
    right("a reload while one is stopped in the lock, $signal");
}

# What it appends after all others have gone waits for the next start.
for my $signal (qw(CONT KILL)) {
    my $pid   = stopped_at('PAYLOAD');
    my $start = time;

    kill 'TERM', @{ $sender->{pids} };    # some wait for the one that is stopped
    kill 'QUIT', $nginx->pid;
    ok wait_for { session($nginx->{session}) == 2 }, 'a stop: the others end';
    cmp_ok time - $start, '<', 4 * slow(), 'in time';
    kill $signal, $pid;
    ok wait_for { state_of($nginx->pid) =~ /[Z-]/ }, "$signal: then nginx ends";
    $nginx->stop;
    $sender->wait;
    $nginx->start;
    $sender = $rig->send(connections => 4, rate => 80);
    right("a stop while one is stopped in the lock, $signal");
}

at_rest();

# ---- answers that wait for a sync, which waits for the lock -------------------------------

$nginx->stop;
begin('always');
at_points(qw(MOVED));
at_rest();

done_testing;
