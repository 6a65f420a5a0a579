# The simulator: many seeds against the core as it is, and against cores with
# one planted fault each, which have to be found.
#
#   VOC_SOAK=N   N seeds (1: two million) instead of 10,000, from a random one
#   build/sim SEED -v   replays a run and tells what happens

use strict;
use warnings;

use File::Basename qw(basename);
use File::Glob qw(:bsd_glob);
use File::Path qw(make_path);
use Test::More;
use Time::HiRes qw(time);
use VocTest qw(build_dir root slurp);

my $core   = root() . '/ngx_http_voc_webhook_module/core';
my $source = root() . '/t/sim';
my $out    = build_dir() . '/sim.d';
my $sim    = build_dir() . '/sim';
my $cc     = $ENV{CC} // 'gcc';
my @flags  = (qw(-std=c11 -D_GNU_SOURCE -g -Wall -Wextra -I), $core);
my @libraries = qw(-lhiredis -lpcre2-8 -lcrypto -lpthread);
my @sanitize = qw(-O1 -fsanitize=address -fsanitize=undefined
    -fno-sanitize-recover=all -fno-omit-frame-pointer);

my $soak  = $ENV{VOC_SOAK} // 0;
my $seeds = $soak > 1 ? $soak : $soak ? 2_000_000 : 10_000;
my $from  = $soak ? int(time * 1000) : 1;

# Starts a program; its output is read by the end.
sub start {
    my @command = @_;
    my $pid = open(my $pipe, '-|') // die "fork: $!";

    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
    return $pipe;
}

sub end {
    my ($pipe) = @_;
    my $output = join '', <$pipe>;

    close $pipe;
    return ($output, $? & 127 ? 128 + ($? & 127) : $? >> 8);
}

sub run { return end(start(@_)) }

# All that is out of date, two at a time; the objects, or none after an error.
sub objects {
    my ($kind, $sources, @more) = @_;
    my $flags = join ' ', $cc, @flags, @more;
    my ($good, @objects, @running) = (1);
    my @newest = sort { $b <=> $a }
        map { (stat $_)[9] } glob("$core/*.h"), glob "$source/*.h";

    make_path("$out/$kind");
    my $same = slurp("$out/$kind/flags") eq $flags;

    my $wait = sub {
        my ($output, $status) = end(shift @running);
        diag($output) if $output ne '' || $status != 0;
        $good &&= $status == 0;
    };
    for my $file (@$sources) {
        my $object = "$out/$kind/" . basename($file, '.c') . '.o';
        my $time   = (stat $object)[9] // 0;

        push @objects, $object;
        next if $same && $time > (stat $file)[9] && $time > $newest[0];
        $wait->() if @running == 2;
        push @running,
            start($cc, @flags, @more, '-c', '-o', $object, $file);
    }
    $wait->() while @running;
    return if !$good;

    open my $file, '>', "$out/$kind/flags" or die $!;
    print {$file} $flags;
    close $file;
    return @objects;
}

sub program {
    my ($name, $objects, @more) = @_;
    my ($output, $status)
        = run($cc, @more, '-o', $name, @$objects, @libraries);

    is $status, 0, basename($name) . ' links' or diag($output);
    return $status == 0;
}

my @sources = (glob("$source/*.c"), glob "$core/*.c");
my @objects = objects('fast', \@sources, '-O2', '-Werror');
ok scalar @objects, 'compiles' or BAIL_OUT('t/sim');
program($sim, \@objects) or BAIL_OUT('t/sim');

subtest 'the same seed, the same run' => sub {
    my @runs = map { (run($sim, 4711, '-v'))[0] } 1 .. 2;

    s/voc-sim-\w+//g, s/[\d.]+ seconds// for @runs;
    cmp_ok length $runs[0], '>', 2000, 'it tells what happens';
    ok $runs[0] eq $runs[1], 'both times the same';
};

subtest "$seeds seeds" => sub {
    my $half  = int(($seeds + 1) / 2);
    my $begin = time;
    my @pipes
        = map { start($sim, '--coverage', $from + $_ * $half, $half) } 0, 1;
    my %reached;

    for my $pipe (@pipes) {
        my ($output, $status) = end($pipe);
        is $status, 0, 'nothing found' or diag($output);
        note($output);

        # a run that meets nothing proves nothing
        $reached{$2} += $1 while $output =~ /^ +(\d+)  (.+)$/mg;
        my %met = $output =~ /^\d+ seeds.*/m ? $& =~ /([A-Z_]+) (\d+)/g : ();
        my @never = grep { $met{$_} == 0 } sort keys %met;
        is "@never", '', 'each fault was there' if $status == 0;
    }
    note(sprintf '%.0f seeds a second', $seeds / (time - $begin));

    my @points = slurp("$core/voc_journal_file.h") =~ /^ +VOC_POINT_(\w+)/mg;
    my @never = grep { !$reached{$_} } map { ("passed $_", "died at $_") }
        @points;
    is "@never", 'died at ADOPTED', 'each point of the journal is reached';

    my ($rows) = slurp("$core/voc_redis.c") =~ /voc_redis_rows\[\] = (.+?)^};/ms;
    for my $where ('answered:', 'when queued:', 'by EXEC:', 'by RPUSH:',
        'in a script:')
    {
        my @missing = grep {
            my $row = $_;
            !grep { index("$_ ", "$where $row") == 0 } keys %reached;
        } $rows =~ /voc_str\("(.+?)"\)/g;
        is join(', ', @missing), '', "each row of the reply table, $where";
    }

    @never = grep { !$reached{$_} } 'a transaction without its end',
        'in EXEC: rights have changed', 'stays away:',
        map({ "a batch is taken back: $_" } 'another cursor', 'an error',
            'RPUSH has failed'),
        map { "not allowed: $_" } qw(MULTI LINDEX LTRIM EXEC RPUSH EVAL);
    is join(', ', @never), '', 'what a transaction can meet';
};

subtest 'sanitized' => sub {
    local $ENV{ASAN_OPTIONS} = 'detect_leaks=1';
    my @checked = objects('checked', \@sources, @sanitize, '-Werror');
    ok scalar @checked, 'compiles' or return;
    program("$sim-checked", \@checked, @sanitize) or return;

    my @pipes = map { start("$sim-checked", '--seeds', $_, 100) } 20001, 30001;
    for my $pipe (@pipes) {
        my ($output, $status) = end($pipe);
        is $status, 0, 'nothing found' or diag($output);
        unlike $output, qr/Sanitizer|runtime error/, 'no sanitizer speaks up';
    }
};

# ---- planted faults --------------------------------------------------------

# The lines of the commit script, each a C string.
sub script {
    my ($change) = @_;

    return sub {
        my ($text) = @_;

        my ($script) = $text =~ /commit_script\[\] =\n(.*?);\n/s or return;
        my $changed = $change->($script) // return;
        $text =~ s/\Q$script\E/$changed/;
        return $text;
    };
}

my $other_end = qr/^ +"if redis.call\('LINDEX'.*?"end\\n"\n/ms;

sub without_compare {
    my ($script) = @_;

    $script =~ s/^ +"if cursor == ARGV\[1\] then\\n"\n//m or return;
    $script =~ s/^ +"    end\\n"\n\K +"end\\n"\n//m       or return;
    return $script;
}

sub cursor_first {
    my ($script) = @_;

    $script =~ s/($other_end)(.*)(^ +"redis.call\('LTRIM')/$2$1$3/ms
        or return;
    return $script;
}

# Takes away what matches, once.
sub without {
    my ($pattern) = @_;

    return sub {
        my ($text) = @_;

        $text =~ s/$pattern// or return;
        return $text;
    };
}

# Each pattern has to be there, once.
sub replaced {
    my @pairs = @_;

    return sub {
        my ($text) = @_;

        while (my ($pattern, $with) = splice @pairs, 0, 2) {
            my @found = $text =~ /\Q$pattern\E/g;
            return if @found != 1;
            $text =~ s/\Q$pattern\E/$with/;
        }
        return $text;
    };
}

my @planted = (
    ['the commit does not compare', 'voc_redis_push',
        script(\&without_compare)],
    ['the commit does not take back', 'voc_redis_push',
        script(without(qr/^ +"redis.call\('LTRIM'.*\n/m))],
    ["the commit does not look at the list's end", 'voc_redis_push',
        script(without($other_end))],
    ['the cursor moves before the list is looked at', 'voc_redis_push',
        script(\&cursor_first)],
    ['the rights are not asked for', 'voc_pusher_source',
        replaced('if (voc_pusher_rights(p) == 0 &&', 'if (')],
    ['what refuses them does not count', 'voc_pusher_reply',
        replaced('    sent->refused = 1;',
            "    sent->refused = 1;\n"
                . '    if (sent->type == VOC_SENT_RIGHTS) return 0;')],
    ['the first error of a transaction is not kept', 'voc_pusher_reply',
        replaced("    sent->refused = 1;\n\n"
                . '    return voc_pusher_error(p, sent->type, reply->text);',
            '    return 0;')],
    ['without MULTI the answers are those of a transaction',
        'voc_pusher_reply',
        replaced('if (sent->refused || reply->type == VOC_REDIS_STATUS)',
            'if (reply->type == VOC_REDIS_STATUS)')],
    ['the error of RPUSH is not looked at', 'voc_redis',
        replaced('reader->reply.text.data == NULL &&', '1 &&')],
    ['the cursor is not read', 'voc_pusher_source',
        replaced('    source->begun = 1;', <<'END')],
    cursor = source->confirmed;
    source->begun = 1;
END
    ['numbers are used again after a restart', 'voc_journal_create',
        replaced('PRIx64, random)', 'PRIx64, (uint64_t)1)')],
    ['checksums are not compared', 'voc_journal_read',
        replaced('voc_crc32c(crc, buffer, left) == header->crc', '1',
            'return crc == header->crc;', 'return crc + 1 > 0;')],
    ['the tail moves before the answer', 'voc_pusher_batch',
        replaced('    p->in_flight++;', <<'END')],
    p->in_flight++;
    source->ack = sent.last;
    source->ack_end = sent.end;
    voc_pusher_acknowledge(p, source);
END
    ['leftovers are drained by two at a time', 'voc_journal_adopt',
        replaced('if (!mine && voc_adopt_draining(live, directory))',
            'if (0 && voc_adopt_draining(live, directory) && mine)')],
    ['the head is published before its end', 'voc_journal_append',
        replaced("    atomic_store_explicit(&shared->end[header->seq & 1],\n"
                . '                          header->offset + need, '
                . 'memory_order_release);',
            '    atomic_store(&shared->seq, header->seq);',
            "    voc_point(VOC_POINT_END, journal);\n"
                . '    atomic_store_explicit(&shared->seq, header->seq, '
                . "memory_order_release);\n",
            "    voc_point(VOC_POINT_END, journal);\n"
                . '    atomic_store(&shared->end[header->seq & 1], '
                . "header->offset + need);\n")],
    ['what Redis lost is not kept', 'voc_pusher_source',
        replaced('rc = voc_journal_retain(source->journal, record);',
            'rc = VOC_JOURNAL_OK;')],
    ['what waits in memory is overwritten', 'voc_journal_append',
        replaced('if (header->offset + need - tail.end > journal->size)',
            'if (journal->fd != -1 &&'
                . ' header->offset + need - tail.end > journal->size)')],
    ['a sync that failed counts', 'voc_journal_sync',
        replaced("            return voc_journal_fail(journal, errno);\n",
            "            break;\n")],
    ['what is appended during a sync counts as synced', 'voc_journal_sync',
        replaced('    while (synced < seq &&',
            "    seq = atomic_load(&shared->seq);\n    while (synced < seq &&")],
    ['nobody looks for the file', 'voc_journal_sync',
        replaced('st.st_nlink == 0', '0')],
    ['nobody looks at its size', 'voc_journal_sync',
        replaced('(uint64_t)st.st_size < journal->ring_at + journal->size', '0')],
    ['the window is written over too soon', 'voc_journal_append',
        replaced('window / 4', 'window * 4')],
    ['what is synced need not be in the ring', 'voc_journal_sync',
        replaced('number = voc_window_move(journal);', 'number = 0;')],
    ['what died halfway is found behind a lap', 'voc_journal_append',
        replaced('rc = voc_append_clear(journal, head.end);', 'rc = 0;')],
    ['nobody looks into the window', 'voc_journal_recover',
        replaced("window,\n"
                . '                              voc_recover_moved', '0,'
                . ' voc_recover_moved')],
    ['an old window goes before the ring', 'voc_journal_recover',
        replaced('header->offset + ring->size < journal->found.end ||', '')],
    ['the window is not read', 'voc_journal_read',
        replaced("{&journal->window, &journal->ring};\n    int i, fits;",
            '{&journal->ring, &journal->ring}; int i, fits;')],
    ['a hole ends the reading', 'voc_journal_read',
        replaced('    rc = voc_read_scan(reader, head, buffer, size, record);',
            '    rc = VOC_JOURNAL_EMPTY;')],
    ["someone else's cursor is believed", 'voc_pusher_source',
        replaced("        voc_pusher_foreign(p);\n        return;\n", '')],
    ['a drain does not wait for the cursor', 'voc_pusher',
        replaced("p->left.journal == NULL &&\n           p->ncursors == 0;",
            'p->left.journal == NULL;')],
    ['a drain does not wait for events', 'voc_pusher',
        replaced('return voc_pusher_pending(p) == 0 &&',
            'return p->phase >= 0 &&')],
);

for my $plant (@planted) {
    my ($what, $name, $patch) = @$plant;

    subtest "planted: $what" => sub {
        my $text = $patch->(slurp("$core/$name.c"));
        ok defined $text, 'the place for it is still there' or return;

        my $planted = "$out/planted";
        make_path($planted);
        open my $file, '>', "$planted/$name.c" or die $!;
        print {$file} $text;
        close $file;

        my ($output, $status) = run($cc, @flags, '-w', '-O2', '-c', '-o',
            "$planted/$name.o", "$planted/$name.c");
        is $status, 0, 'compiles' or return diag($output);

        my @with = map { basename($_) eq "$name.o" ? "$planted/$name.o" : $_ }
            @objects;
        program("$planted/sim", \@with) or return;

        ($output, $status) = run("$planted/sim", '--seeds', 1, 10_000);
        is $status, 1, 'found' or diag($output);
        like $output, qr/^seed \d+, step \d+: /m, 'and its seed is told';
        note($output);
    };
}

done_testing;
