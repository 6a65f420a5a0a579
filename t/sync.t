# journal ... sync=: what is answered when, and what happens to the file.

use strict;
use warnings;

use Test::More;
use Time::HiRes qw(time);
use VocTest qw(build_dir private_dir wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;

sub nginx {
    my ($journal, @options) = @_;

    return VocTest::Nginx->new(@options, http => <<"END")->start;
        voc_webhook_https off;
        voc_webhook_allow 127.0.0.1;
        voc_webhook_queue calls {
            redis   127.0.0.1:@{[ $redis->port ]};
            journal $journal;
        }
        server {
            listen 127.0.0.1:%%PORT%%;
            location = /voc { voc_webhook calls; }
        }
END
}

for my $journal ('%%DIR%%/journal sync=always', '%%DIR%%/journal sync=off',
    '%%DIR%%/journal sync=10ms', '%%DIR%%/journal', 'off')
{
    my $nginx   = nginx($journal);
    my @clients = map { VocTest::Client->new(port => $nginx->port) } 1 .. 10;

    $redis->cli('DEL', 'voc:events');
    for my $round (1 .. 20) {
        $_->send('POST /voc?' . query(sample('callRecordingAvailable'))
                . " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            for @clients;
        $_->receive->{status} == 200 or die 'not accepted' for @clients;
    }
    my $form = $clients[0]->post('/voc', body => query(sample('ivrOption')),
        headers => ['Content-Type' => 'application/x-www-form-urlencoded']);
    is $form->{status}, 200, "journal $journal: a form";
    my @events = $redis->wait_list('voc:events', 201);
    is scalar(@events), 201, 'all accepted and pushed';

    # The file is in use: its last events are in the window, perhaps alone.
    if (my ($file) = glob $nginx->dir . '/journal/*.journal') {
        my $tool = build_dir() . '/voc-journal';
        is `$tool cat '$file'`, join('', map {"$_\n"} @events),
            'voc-journal sees them as Redis does';
        like `$tool verify '$file'`, qr/: 201 valid, 0 damaged/, 'none damaged';
    }

    # A client that does not wait for its answer costs nothing.
    for (1 .. 20) {
        my $client = VocTest::Client->new(port => $nginx->port);
        $client->send('POST /voc?' . query(sample('callRecordingAvailable'))
            . " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        $client->close;
    }
    ok wait_for { $redis->cli('LLEN', 'voc:events') >= 201 }, 'clients that left';
    is $clients[0]->post('/voc?' . query(sample('ivrOption')))->{status}, 200,
        'and it goes on';
    $nginx->stop;
}

# ---- a slow disk ----------------------------------------------------------------------------

# fdatasync() that takes ms milliseconds and is written down.
my $dir = private_dir();
chmod 0777, $dir;
open my $source, '>', "$dir/slow.c" or die $!;
print $source <<'END';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

int
fdatasync(int fd)
{
    int (*real)(int) = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    int log = open(SYNCS, O_WRONLY | O_APPEND | O_CREAT, 0666);

    if (write(log, "x", 1) == -1) {
        abort();
    }
    close(log);
    usleep(MS * 1000);
#ifdef FAILS
    errno = EIO;
    return -1;
#endif
    return real(fd);
}
END
close $source;

sub slow_disk {
    my ($ms, @flags) = @_;

    unlink "$dir/syncs";
    system("@{[ $ENV{CC} // 'gcc' ]} -shared -fPIC -DMS=$ms @flags"
        . " -DSYNCS='\"$dir/syncs\"' -o $dir/slow.so $dir/slow.c -ldl") == 0
        or die 'no compiler';
    return (env => { LD_PRELOAD => "$dir/slow.so" });
}

my $request = 'POST /voc?' . query(sample('callRecordingAvailable'))
    . " HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n";

SKIP: {
    skip 'LD_PRELOAD is in use', 1 if $ENV{VOC_PRELOAD};

    my $nginx  = nginx('%%DIR%%/journal sync=10ms', workers => 1, slow_disk(300));
    my $client = VocTest::Client->new(port => $nginx->port);
    $client->post('/voc?' . query(sample('ivrOption')));
    wait_for { -s "$dir/syncs" };
    $client->post('/voc?' . query(sample('ivrOption')));
    ok wait_for { -s "$dir/syncs" == 2 },
        'what comes in while a sync runs is synced, too';
    $nginx->stop;

    $nginx = nginx('%%DIR%%/journal sync=always', workers => 1, slow_disk(300));
    $redis->cli('DEL', 'voc:events');
    my @clients = map { VocTest::Client->new(port => $nginx->port) } 1 .. 20;
    my $start   = time;
    $clients[0]->send($request);
    wait_for { -s "$dir/syncs" };
    $_->send($request) for @clients[1 .. 19];
    is scalar(@{[$redis->wait_events(20)]}), 20, 'on the list before';
    is $clients[0]{buffer} . ($clients[0]->usable ? $clients[0]{buffer} : 'closed'), '',
        'the answer waits for the sync';
    is scalar(grep { $_->receive->{status} == 200 } @clients), 20, 'then it comes';
    cmp_ok time - $start, '>=', 0.55, 'to those who came during a sync, with the next';
    is -s "$dir/syncs", 2, 'one for all of them';
    $clients[0]->send($request x 3);
    is scalar(grep { $clients[0]->receive->{status} == 200 } 1 .. 3), 3,
        'pipelined requests, one after the other';

    # Clients that leave while they wait.
    for (1 .. 10) {
        my $client = VocTest::Client->new(port => $nginx->port);
        $client->send($request);
        $client->close;
    }
    is $clients[0]->post('/voc?' . query(sample('ivrOption')))->{status}, 200,
        'clients that left while they waited';

    # A graceful stop answers those who wait.
    $_->send($request) for @clients;
    wait_for { $redis->cli('LLEN', 'voc:events') >= 54 };
    kill 'QUIT', $nginx->pid;
    is scalar(grep { ($_->receive // {})->{status} // '' eq '200' } @clients), 20,
        'answered at a graceful stop';
    $nginx->stop;

    # A shutdown that has to end does not wait, and does not crash.
    $nginx = nginx('%%DIR%%/journal sync=always', workers => 1, slow_disk(1000),
        main => 'worker_shutdown_timeout 100ms;');
    @clients = map { VocTest::Client->new(port => $nginx->port) } 1 .. 5;
    $_->send($request) for @clients;
    wait_for { -s "$dir/syncs" };
    kill 'QUIT', $nginx->pid;
    $nginx->stop;
    unlike $nginx->error_log, qr/exited on signal/, 'worker_shutdown_timeout';

    # What is not due is synced at the end.
    $nginx = nginx('%%DIR%%/journal sync=1d', workers => 1, slow_disk(0));
    VocTest::Client->new(port => $nginx->port)->post('/voc?' . query(sample('ivrOption')));
    ok !-e "$dir/syncs", 'sync=1d';
    $nginx->stop;
    is -s "$dir/syncs", 1, 'synced at the end';

    # The first error is final.
    for my $sync (qw(always 10ms)) {
        $nginx = nginx("%%DIR%%/journal sync=$sync", workers => 1, slow_disk(50, '-DFAILS'));
        $nginx->expect_log(qr/\[(crit|alert)\].*journal .*Input\/output error/);
        my $client = VocTest::Client->new(port => $nginx->port);
        my $answer = $client->post('/voc?' . query(sample('ivrOption')));
        is $answer->{status}, $sync eq 'always' ? 503 : 200, "sync=$sync fails";
        ok eval { $nginx->wait_log(qr/cannot be written; .*Input\/output error/) }, 'it is said';
        $answer = $client->post('/voc?' . query(sample('ivrOption')));
        is $answer->json->{reason}, 'journal_error', 'and stays so';
        is $answer->{headers}{'retry-after'}, 1, 'Retry-After';
        is -s "$dir/syncs", 1, 'without another try';
        $nginx->stop;
    }

    # More journals than the thread pool has room for.
    $nginx = VocTest::Nginx->new(workers => 1, slow_disk(50),
        main => 'thread_pool default threads=1 max_queue=1;',
        http => join("\n", map({ <<"END" } 1 .. 5), <<'END', map({ <<"END" } 1 .. 5), '}'))->start;
        voc_webhook_queue q$_ {
            redis   127.0.0.1:@{[ $redis->port ]};
            journal %%DIR%%/journal/$_ sync=always;
        }
END
        server {
            listen 127.0.0.1:%%PORT%%;
            voc_webhook_https off;
            voc_webhook_allow 127.0.0.1;
END
            location = /$_ { voc_webhook q$_; }
END
    @clients = map { VocTest::Client->new(port => $nginx->port) } 1 .. 5;
    $clients[$_ - 1]->send($request =~ s/voc/$_/r) for 1 .. 5;
    is scalar(grep { (eval { $_->receive } // {})->{status} } @clients), 5,
        'answered though the thread pool was full';
    like $nginx->error_log, qr/queue overflow/, 'which it was';
    $nginx->stop;
}

# ---- the file under a running nginx -------------------------------------------------------

for my $case (['truncated', '10ms'], ['deleted', '10ms'], ['deleted', 'off']) {
    my ($what, $sync) = @$case;
    my $nginx  = nginx("%%DIR%%/journal sync=$sync");
    my $client = VocTest::Client->new(port => $nginx->port);
    my ($file) = glob $nginx->dir . '/journal/*.journal';

    $nginx->expect_log(qr/\[(crit|alert)\].*(journal|$file)/);
    is $client->post('/voc?' . query(sample('ivrOption')))->{status}, 200,
        "before it is $what";
    $what eq 'truncated' ? truncate($file, 0) : unlink $file;
    my $answer;
    ok wait_for {
        $answer = $client->post('/voc?' . query(sample('ivrOption')));
        $answer->{status} == 503;
    }, "$what: refused";
    is $answer->json->{reason}, 'journal_error', 'with a reason';
    is $answer->{headers}{'retry-after'}, 1, 'and Retry-After';
    ok eval { $nginx->wait_log(qr/cannot be written; events are refused with 503: .* (was $what|failed)/) },
        'and a line in the log';
    unlike $nginx->error_log, qr/signal/, 'no worker died';
    $nginx->stop;
}

# A journal that is full and then fails: the second is said, too.
{
    my $nginx  = VocTest::Nginx->new(workers => 1, http => <<'END')->start;
        voc_webhook_queue calls { redis 127.0.0.1:1; journal %%DIR%%/journal size=64k; }
        server {
            listen 127.0.0.1:%%PORT%%;
            location = /voc { voc_webhook calls; voc_webhook_https off; voc_webhook_allow all; }
        }
END
    my $client = VocTest::Client->new(port => $nginx->port);
    my $post   = sub { $client->post('/voc?' . query(sample('ivrOption'))) };

    $nginx->expect_log(qr/\[crit\].*the journal /);
    ok wait_for { $post->()->{status} == 503 }, 'full';
    unlink glob $nginx->dir . '/journal/*.journal';
    ok wait_for { $post->()->json->{reason} eq 'journal_error' }, 'and failed';
    ok eval { $nginx->wait_log(qr/cannot be written/) }, 'which is said';
    $post->() for 1 .. 100;
    is scalar(() = $nginx->error_log =~ /\[crit\]/g), 2, 'each once';
}

done_testing;
