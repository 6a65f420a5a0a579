# What happens to the journal's directory and files: no room, no rights, files
# cut, deleted, damaged; a full journal; a long queue; a clock that jumps.

use strict;
use warnings;

# In a mount namespace of its own: what is mounted here ends with the test.
BEGIN {
    if ($> == 0 && !$ENV{VOC_UNSHARED}
        && system('unshare -m --propagation private true 2>/dev/null') == 0)
    {
        $ENV{VOC_UNSHARED} = 1;
        exec qw(unshare -m --propagation private), $^X,
            (map {"-I$_"} @INC), $0, @ARGV;
    }
}

use POSIX ();
use Test::More;
use Time::HiRes qw(sleep time);
use VocTest qw(private_dir slurp wait_for worker_user);
use VocTest::Rig;

my %load = (connections => 2, rate => 100);

# How many of a sender's answers were "status reason retry-after=1".
sub refused {
    my ($sender, $reason) = @_;

    return scalar grep {/^503 \S+ $reason retry-after=1$/} $sender->others;
}

# ---- room and rights ------------------------------------------------------------

SKIP: {
    skip 'cannot mount: not root, or no mount namespaces', 9
        if !$ENV{VOC_UNSHARED};
    my $dir = private_dir();
    system("mount -t tmpfs -o size=8m,mode=0777 tmpfs $dir") == 0
        or skip 'cannot mount a tmpfs', 9;

    my $rig = VocTest::Rig->new(journal => "$dir size=64m");
    my ($redis, $nginx) = ($rig->redis->start, $rig->nginx);
    $nginx->expect_log(qr/\[emerg\].*journal/);
    eval { $nginx->start(http => $rig->http) };
    like $@, qr/\[emerg\].*voc_webhook_queue "calls".*No space left on device/s,
        'no room: nginx does not start, and says why';
    is_deeply [glob "$dir/*"], [], 'and leaves nothing behind';

    $nginx->start(http => $rig->http(journal => "$dir size=4m"));
    my $sender = $rig->send(%load);
    eval { $nginx->reload(http => $rig->http(journal => "$dir size=16m")) };
    like $@, qr/No space left on device/, 'no room for a larger one at a reload';
    $sender->wait_more(50);
    $rig->verify('the old one goes on', nothing => [qw(broken refused)]);

    # All the room of the file was taken at the start: it can be filled.
    system("dd if=/dev/zero of=$dir/rest bs=64k 2>/dev/null");
    $redis->pause;
    $rig->send(connections => 2, rate => 0, count => 4000)->wait;
    is refused($rig->{senders}[-1], 'journal_error'), 0,
        'the disk is full: the journal does not mind';
    $redis->resume;
    $sender->stop;
    $rig->verify('each once', others => 1);
    $nginx->stop;
    unlink "$dir/rest";

    system("mount -o remount,ro $dir");
    eval { $nginx->start };
    like $@, qr/\[emerg\].*voc_webhook_queue "calls".*Read-only file system/s,
        'a read-only file system: nginx does not start, and says why';
    system('umount', $dir);

    # Root's own: the workers cannot look for leftovers.
    my $root = "$dir/root";
    mkdir $root, 0700;
    $rig = VocTest::Rig->new(journal => "$root size=1m")->start;
    $sender = $rig->send(%load, count => 50)->wait;
    $rig->verify("a directory that is root's: events pass");
    $rig->nginx->wait_log(qr/\[error\].*cannot look for journals/);
    is scalar(() = $rig->nginx->error_log =~ /cannot look for journals/g), 1,
        'said once';
}

# ---- the file, under a running nginx -------------------------------------------------

# Cut to nothing, the next append finds out; else the next sync.
for my $what (qw(truncated halved deleted)) {
    my $sync = $what eq 'truncated' ? '1m' : '10ms';
    my $rig = VocTest::Rig->new(
        journal => "%%DIR%%/journal size=16m sync=$sync")->start;
    my $nginx = $rig->nginx;
    my ($file) = $rig->journals;
    my $sender = $rig->send(%load);

    $nginx->expect_log(qr/\[(?:crit|alert)\].*(?:journal|\Q$file\E)/);
    $sender->wait_more(50);
    $what eq 'deleted' ? unlink $file
        : truncate $file, $what eq 'halved' ? 8 << 20 : 0;
    ok wait_for { refused($sender->read, 'journal_error') > 10 },
        "$what: 503 journal_error, Retry-After";
    is scalar($sender->others), refused($sender, 'journal_error'),
        'no other answer';
    is $sender->count('broken'), 0, 'nor none';
    unlike $nginx->error_log, qr/signal/, 'no worker died';

    # In a file that was cut to nothing, what was not pushed yet is gone.
    if ($what ne 'truncated') {
        $rig->verify('what was accepted is on the list', others => 1);
    }
    else {
        my %problems = VocTest::Ledger::compare(accepted => [$rig->accepted],
            sent => $sender->read->sent, list => [$rig->list]);
        cmp_ok scalar(@{ delete $problems{lost} }), '<=', 10,
            'at most what was on its way is lost';
        is VocTest::Ledger::text(%problems), '', 'and nothing else is wrong';
    }
    $nginx->restart;
    $sender->wait_more(50)->stop;
    pass 'after a restart events are accepted';
}

# ---- damaged leftovers ------------------------------------------------------------------

# nginx is killed with 500 events that Redis does not have; their file.
sub leave_behind {
    my $rig = VocTest::Rig->new->start;

    $rig->nginx->expect_log(qr/\[alert\].*exited on signal/);
    $rig->redis->stop;
    $rig->send(connections => 2, rate => 0, count => 250)->wait;
    $rig->nginx->kill;
    return ($rig, $rig->journals);
}

# Flips a bit within the records of these numbers, in the ring and in the window.
sub damage {
    my ($file, @numbers) = @_;
    my $bytes = slurp($file);
    my (%places, %callids);

    while ($bytes =~ /"callid":"([^"]+)"/g) {
        my ($place, $callid) = ($-[0], $1);
        my $start = rindex $bytes, pack('L', 0xF81EFE01), $place;
        my $seq = unpack 'x8Q', substr $bytes, $start, 16;
        push @{ $places{$seq} }, $place;
        $callids{$seq} = $callid;
    }
    is scalar(keys %places), 500, 'all events are in the file';
    open my $out, '+<:raw', $file or die $!;
    for my $place (map { @{ $places{$_} } } @numbers) {
        $place += int(rand 16) - 8;
        seek $out, $place, 0;
        print {$out} chr(ord(substr $bytes, $place, 1) ^ 1 << rand 8);
    }
    close $out;
    return @callids{@numbers};
}

for my $damage ([101 .. 103], [1], [500], [map { $_ * 7 } 1 .. 70]) {
    my ($rig, $file) = leave_behind();
    my $n = @$damage;
    my @missing = damage($file, @$damage);

    $rig->redis->start;
    $rig->nginx->start;
    $rig->marker;
    my %problems = VocTest::Ledger::compare(accepted => [$rig->accepted],
        sent => { marker => 1, map { %{ $_->sent } } @{ $rig->{senders} } },
        list => [grep { !/"marker-1"/ } $rig->list]);
    is "@{[ sort @{ delete $problems{lost} } ]}", "@{[ sort @missing ]}",
        "$n damaged: these are lost";
    is VocTest::Ledger::text(%problems), '', 'and no other';
    my ($lost) = $rig->nginx->error_log
        =~ /\[warn\].*is damaged behind event \d+, (\d+) events are lost/;
    is $lost, $damage->[0] == 101 ? 3 : 1, 'said in the log'
        if $damage->[0] != 500;
    ok wait_for { $rig->journals == 1 }, 'the file goes';
}

# What is no journal, or not one of ours, is left alone.
{
    my ($rig, $good) = leave_behind();
    my $dir = $rig->nginx->dir . '/journal';
    my (undef, $uid, $gid) = worker_user();
    my %files = (
        '0000000000000007-0123456789abcdef.journal' => join('', map { chr rand 256 } 1 .. 100_000),
        '0000000000000008-0123456789abcdee.journal' => 'x',
        '0000000000000009-0123456789abcded.journal' => "\0" x 65536,
        'ffffffffffffffff.journal' => 'short name',
        'README'                    => "not a journal\n",
        'core.4711'                 => 'garbage' x 1000,
    );
    my $other = slurp($good);
    substr $other, 8, 1, chr 99;    # another version
    $files{'000000000000000a-0123456789abcdec.journal'} = $other;
    for my $name (keys %files) {
        open my $out, '>:raw', "$dir/$name" or die $!;
        print {$out} $files{$name};
        close $out;
        chown $uid, $gid, "$dir/$name";
    }
    mkdir "$dir/000000000000000b-0123456789abcdeb.journal";
    symlink '/etc/passwd', "$dir/000000000000000c-0123456789abcdea.journal";

    $rig->redis->start;
    $rig->nginx->start;
    my $sender = $rig->send(%load);
    $sender->wait_more(50)->stop;
    $rig->verify('garbage in the directory');
    is join(' ', grep { slurp("$dir/$_") ne $files{$_} } sort keys %files), '',
        'it is left alone';
    ok -d "$dir/000000000000000b-0123456789abcdeb.journal"
        && -l "$dir/000000000000000c-0123456789abcdea.journal",
        'a directory and a link as well';
    like $rig->nginx->error_log, qr/\[warn\].*0123456789abcdec\S* .*left alone/,
        'another version is reported';
}

# ---- a full journal --------------------------------------------------------------------------

sub ticks {
    my ($pid) = @_;
    my ($user, $system) = (split ' ', slurp("/proc/$pid/stat") =~ s/.*\) //sr)[11, 12];

    return $user + $system;
}

{
    my $rig = VocTest::Rig->new(redis => { appendonly => 1 },
        journal => '%%DIR%%/journal size=64k')->start;
    my ($redis, $nginx) = ($rig->redis, $rig->nginx);
    my $sender = $rig->send(%load, rate => 300);

    $nginx->expect_log(qr/\[crit\].*the journal is full/);
    $redis->stop;
    ok wait_for { refused($sender->read, 'queue_full') > 100 },
        'a full journal: 503 queue_full, Retry-After';
    $sender->stop;
    is scalar($sender->others), refused($sender, 'queue_full'), 'no other answer';
    cmp_ok scalar(() = $nginx->error_log =~ /the journal is full/g), '<=', 2,
        'said once by a worker';

    my @workers = $nginx->workers;
    my %before  = map { $_ => ticks($_) } @workers;
    sleep 2;
    for my $pid (@workers) {
        my $part = (ticks($pid) - $before{$pid}) / POSIX::sysconf(POSIX::_SC_CLK_TCK()) / 2;
        cmp_ok $part, '<', 0.1, sprintf 'an idle worker takes %.1f %% of a CPU',
            100 * $part;
    }

    $redis->start;
    $rig->verify('it drains by itself', others => 1);
    $rig->send(%load, count => 50)->wait;
    $rig->verify('events are accepted again', others => 1);
    is $rig->{senders}[-1]->summary, '200: 100', 'all of them';
}

# ---- many events ---------------------------------------------------------------------------------

{
    my $n   = $ENV{VOC_WAITING} // 100_000;
    my $rig = VocTest::Rig->new(journal => '%%DIR%%/journal size=128m')->start;
    my $redis = $rig->redis->stop;
    my $client = VocTest::Sender::Client->new(port => $rig->nginx->port,
        tls => 1, timeout => 20);
    my $i = 0;

    while ($i < $n) {
        my $size = $n - $i < 100 ? $n - $i : 100;
        $client->send(join '', map { ++$i; 'POST /voc?event=callRecordingAvailable'
            . "&date=2024-01-01+19:00&callid=w-$i HTTP/1.1\r\nHost: x\r\n"
            . "Content-Length: 0\r\n\r\n" } 1 .. $size);
        $client->receive->{status} == 200 or die 'not accepted' for 1 .. $size;
    }
    $redis->start;
    my $start = time;
    ok wait_for(sub { $redis->cli('LLEN', 'voc:events') >= $n }, 60),
        "$n waiting events are pushed";
    my $took = time - $start;
    diag(sprintf '%d waiting events pushed in %.2f s, %d a second', $n, $took,
        $n / $took);
    my $text = VocTest::Ledger::text(VocTest::Ledger::compare(
        accepted => [[map {"w-$_"} 1 .. $n]],
        sent     => { map { ("w-$_" => 1) } 1 .. $n },
        list     => [$rig->list]));
    is $text, '', 'each once, in order';
}

# ---- a clock that jumps -------------------------------------------------------------------------

SKIP: {
    my ($library) = glob '/usr/lib/*/faketime/libfaketime.so.1';
    skip 'no libfaketime (package faketime)', 6 if !$library;
    skip 'another library is preloaded', 6 if $ENV{VOC_PRELOAD};
    my $dir  = private_dir();
    my $jump = sub {
        open my $file, '>', "$dir/new" or die $!;
        print {$file} "$_[0]\n";
        close $file;
        chmod 0644, "$dir/new";
        rename "$dir/new", "$dir/clock";
    };

    $jump->('+0');
    # The clock on the wall; the monotonic one does not jump.
    my %env = (
        LD_PRELOAD              => $library,
        FAKETIME_TIMESTAMP_FILE => "$dir/clock",
        FAKETIME_NO_CACHE       => 1,
        FAKETIME_DONT_FAKE_MONOTONIC => 1,
        DONT_FAKE_MONOTONIC     => 1,
    );
    my $rig = VocTest::Rig->new(env => \%env,
        main => join '', map {"env $_;\n"} sort keys %env)->start;
    my $redis  = $rig->redis;
    my $sender = $rig->send(%load);

    for my $offset ('-1d', '+1d', '+0') {
        $sender->wait_more(50);
        $jump->($offset);
        $sender->wait_more(50);
        $redis->cli(qw(CLIENT KILL TYPE normal SKIPME yes));
        $sender->wait_more(50);
        $rig->verify("the clock at $offset", nothing => [qw(broken refused)]);
        my ($day) = ($rig->list)[-1] =~ /"received":"\d+-\d+-(\d+)T/;
        my $then = time + 86400 * (0 + substr $offset, 0, 2);
        is $day, sprintf('%02d', (gmtime $then)[3]), 'nginx believes it';
    }
}

done_testing;
