# What comes over TLS is read whole, however records and segments cut it: the
# module reads a connection of its own, and asks the socket no more often than
# it has to.

use strict;
use warnings;

use IO::Select;
use IPC::Open2;
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_LINGER TCP_CONGESTION);
use Test::More;
use Time::HiRes qw(time);
use VocTest qw(private_dir slow slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Records;
use VocTest::Redis;

my $redis = VocTest::Redis->new->start;
my $nginx = VocTest::Nginx->new(workers => 1, http => <<"END")->start;
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=16m;
    }
    voc_webhook_queue synced {
        redis   127.0.0.1:@{[ $redis->port ]};
        key     voc:synced;
        journal %%DIR%%/synced sync=always;
    }
    server {
        listen 127.0.0.1:%%PORT%% ssl rcvbuf=400k;
        %%SSL%%
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_early_data on;
        keepalive_requests 1000000000;
        # So long that only a read tells of the end.
        keepalive_timeout 1h;
        client_header_timeout 1h;
        client_body_timeout 1h;
        location = /voc { voc_webhook calls; voc_webhook_allow 127.0.0.1; }
        # Takes the worker longer than it takes a sender to ask.
        location = /busy { @{[ 'set $busy 1; ' x 5_000 ]} return 200; }
        location = /synced { voc_webhook synced; voc_webhook_allow 127.0.0.1; }
    }
END
my ($worker) = $nginx->workers;
my $n = 0;

sub target { return '?' . query(sample('ivrOption', callid => 'c' . ++$n, @_)) }

sub event {
    my (@changes) = @_;
    return 'POST /voc' . target(@changes) . " HTTP/1.1\r\nHost: x\r\n\r\n";
}

# All of it is there when the worker looks.
sub burst (&) {
    my ($send) = @_;

    kill 'STOP', $worker;
    wait_for { slurp("/proc/$worker/stat") =~ /\) T / };
    $send->();
    kill 'CONT', $worker;
    return;
}

sub accepted {
    my ($client, $count) = @_;

    for (1 .. $count // 1) {
        my $answer = eval { $client->receive } or return 0;
        return 0 if $answer->{status} != 200;
    }
    return $client->{buffer} eq '';
}

# One event has come: from here on the module reads.
sub client {
    my ($version) = @_;
    my $client = VocTest::Records->new(port => $nginx->port,
        version => $version);

    $client->raw($client->record(event()));
    accepted($client) or die 'no answer to the first event';
    return $client;
}

sub read_whole {
    my ($version) = @_;
    my $client = client($version);
    my @events;

    for my $round (1 .. 3) {
        $client->raw($client->record(event()));
        ok accepted($client), "a request, $round";
    }

    burst { $client->raw($client->record(event() . event() . event())) };
    ok accepted($client, 3), 'three in a record';

    burst { $client->raw(join '', map { $client->record(event()) } 1 .. 3) };
    ok accepted($client, 3), 'three records in a segment';

    burst { $client->raw($client->record(event())) for 1 .. 3 };
    ok accepted($client, 3), 'three segments';

    for my $cut (1, 30, 200) {
        my $text = event() . event();
        burst {
            $client->raw($client->record(substr $text, 0, $cut)
                    . $client->record(substr $text, $cut));
        };
        ok accepted($client, 2), "records cut a request after $cut bytes";
    }

    for my $cut (1, 4, 5, 6, 20, 100, -1) {
        my $bytes = $client->record(event());
        $bytes .= $client->record(event());
        $client->raw(substr $bytes, 0, $cut);
        wait_for { !$client->unread };
        $client->raw(substr $bytes, $cut);
        ok accepted($client, 2), "segments cut a record at $cut";
    }

    my $bytes = join '', map { $client->record(event()) } 1 .. 2;
    for my $byte (split //, $bytes) {
        $client->raw($byte);
        wait_for { !$client->unread };
    }
    ok accepted($client, 2), 'byte by byte';

    # More than the buffer of a header's 1k, or of OpenSSL, holds at once.
    burst {
        $client->raw($client->record(event(padding => 'p' x 3_000)));
    };
    ok accepted($client), 'a long request';
    burst { $client->raw(join '', map { $client->record(event()) } 1 .. 100) };
    ok accepted($client, 100), 'a hundred records';

    for my $together (1, 0) {
        my $form = (target(padding => 'p' x 6_000) =~ s/.*\?//r);
        my $head = "POST /voc HTTP/1.1\r\nHost: x\r\n"
            . "Content-Type: application/x-www-form-urlencoded\r\n"
            . 'Content-Length: ' . length($form) . "\r\n\r\n";
        my @records = map { $client->record($_) }
            $head, substr($form, 0, 50), substr($form, 50, 3_000),
            substr($form, 3_050), event();
        if ($together) {
            burst { $client->raw(join '', @records) };
        }
        else {
            for my $record (@records) {
                $client->raw($record);
                wait_for { !$client->unread };
            }
        }
        ok accepted($client, 2), 'a form in records of its own, '
            . ($together ? 'one segment' : 'one after the other');
    }
    return;
}

# What comes while an answer waits, behind a record that OpenSSL holds.
sub read_later {
    my ($version) = @_;
    my $client = client($version);
    my $failed;

    for (1 .. 200) {
        my ($first, $second, $third) = map { $client->record($_) }
            event() =~ s{/voc}{/synced}r, event(), event();
        burst { $client->raw($first . $second) };
        $client->raw($third);
        $failed = !accepted($client, 3);
        last if $failed;
    }
    ok !$failed, 'behind an answer that waits for the disk';
    return;
}

# What fills OpenSSL's buffer to the byte, with one more request behind it.
sub read_full {
    my ($version) = @_;
    my $overhead = length(client($version)->record('x')) - 1;
    my $client   = client($version);
    my $failed = 'none';

    for my $size (16_380 .. 16_390, 16_640 .. 16_740) {
        my ($text, $last) = map {
            join '', map { event(padding => 'p' x 200) } 1 .. 20
        } 1 .. 2;
        my $pad = $size - 2 * $overhead
            - length($text . $last . event(padding => ''));
        $last .= event(padding => 'p' x $pad);
        burst {
            my $first = $client->record($text) . $client->record($last);
            length $first == $size or die 'wrong size: ' . length $first;
            $client->raw($first . $client->record(event()));
        };
        next if accepted($client, 42);
        $failed = $size;
        last;
    }
    is $failed, 'none', 'whatever fills the buffer';
    return;
}

sub read_end {
    my ($version) = @_;

    my $client = client($version);
    burst {
        $client->raw($client->record(event()) . $client->close_notify);
        $client->half_close;
    };
    ok accepted($client), 'an event, close_notify and FIN';
    ok $client->ended, '... and the connection ends';

    $client = client($version);
    burst {
        $client->raw($client->record(event()));
        $client->half_close;
    };
    ok accepted($client), 'an event, and FIN without close_notify';
    ok $client->ended, '... and the connection ends';

    $client = client($version);
    $client->raw($client->record(event()));
    ok accepted($client), 'an event';
    $client->half_close;
    ok $client->ended, '... and FIN ends the connection later';

    $client = client($version);
    burst {
        $client->raw($client->record(event()));
        $client->{socket}->close;
    };
    my $id = "c$n";
    ok wait_for { $redis->cli('LRANGE', 'voc:events', -1, -1) =~ /"$id"/ },
        'an event of a sender that does not wait';

    for my $bytes (20, 100_000) {
        my $what = $bytes < 100 ? 'a part' : 'events';

        $client = client($version);
        my $behind = length $nginx->error_log;
        setsockopt $client->{socket}, SOL_SOCKET, SO_LINGER, pack 'ii', 1, 0;
        burst {
            my $records = join '', map { $client->record(event()) } 1 .. 3;
            $client->raw(substr $records, 0, $bytes);
            $client->{socket}->close;
        };
        ok wait_for {
            substr($nginx->error_log, $behind)
                =~ /\[info\].*(?:closed|reset|Broken)/
        }, "$what, and a reset, which is worth an info";
        unlike substr($nginx->error_log, $behind),
            qr/\[(?:error|crit|alert)\]/, '... and no more';
    }
    return;
}

sub read_rubbish {
    my ($version) = @_;
    my $client = client($version);
    my $bytes  = $client->record(event());
    my $behind = length $nginx->error_log;

    substr($bytes, -1) ^= "\1";
    burst { $client->raw($bytes) };
    ok $client->ended, 'a record that was tampered with ends the connection';
    like substr($nginx->error_log, $behind),
        qr/\[info\].*SSL_read\(\) failed.*bad record mac/, '... which is said';
    return;
}

# A sender that never stops, and is always ahead of the worker.
sub flood {
    my ($client) = @_;

    my $pid = fork // die "fork: $!";
    return $pid if $pid;

    my $socket = $client->{socket};
    my $select = IO::Select->new($socket);
    my $padding = 'p' x 700;
    my $text  = "GET /busy?$padding HTTP/1.1\r\nHost: x\r\n\r\n" x 20;
    my $bytes = '';

    # BBR makes pauses.
    setsockopt $socket, IPPROTO_TCP, TCP_CONGESTION, 'reno' or die $!;
    $socket->blocking(0);
    while (1) {
        $bytes .= $client->record($text) while length $bytes < 200_000;
        my ($read, $write) = IO::Select->select($select, $select);
        sysread $socket, my $answers, 65536 if @$read;
        substr $bytes, 0, syswrite($socket, $bytes) // 0, '' if @$write;
    }
}

sub read_fairly {
    my ($version) = @_;
    my ($greedy, $other) = map { client($version) } 1 .. 2;

    my $pid = flood($greedy);
    wait_for { $greedy->unread > 100_000 };
    for my $round (1 .. 5) {
        $other->raw($other->record(event()));
        ok accepted($other), "beside a sender that never stops, $round"
            or last;
    }
    ok $greedy->unread, '... which had not';
    kill 'KILL', $pid;
    waitpid $pid, 0;
    return;
}

for ([0x0303, 'TLS 1.2'], [0x0304, 'TLS 1.3']) {
    my ($version, $name) = @$_;

    subtest "$name: whole"   => sub { read_whole($version) };
    subtest "$name: full"    => sub { read_full($version) };
    subtest "$name: fairly"  => sub { read_fairly($version) };
    subtest "$name: later"   => sub { read_later($version) };
    subtest "$name: the end" => sub { read_end($version) };
    subtest "$name: rubbish" => sub { read_rubbish($version) };
}

# ---- what only OpenSSL's own client does ----------------------------------------

sub s_client {
    my (@options) = @_;

    my $pid = open2(my $from, my $to, 'openssl s_client -tls1_3 -connect'
            . ' 127.0.0.1:' . $nginx->port . " @options 2>&1");
    $to->autoflush(1);
    return { pid => $pid, from => $from, to => $to, text => '' };
}

# Until its text has that.
sub s_wait {
    my ($client, $pattern) = @_;
    my $end = time + 10 * slow();

    while ($client->{text} !~ $pattern) {
        IO::Select->new($client->{from})->can_read($end - time)
            && sysread($client->{from}, $client->{text}, 65536,
                length $client->{text})
            or return 0;
    }
    return 1;
}

sub s_send {
    my ($client, $text) = @_;

    $client->{text} = '';
    syswrite $client->{to}, $text;
    return;
}

sub s_end {
    my ($client) = @_;

    close $client->{to};
    close $client->{from};
    waitpid $client->{pid}, 0;
    return;
}

subtest 'new keys' => sub {
    my $client = s_client();

    for my $round (1 .. 3) {
        s_send($client, event());
        ok s_wait($client, qr/"accepted"/), "$round: an event";
        s_send($client, "K\n");
        ok s_wait($client, qr/KEYUPDATE/), "$round: new keys";
    }
    s_send($client, event());
    ok s_wait($client, qr/"accepted"/), 'an event with the last ones';
    s_end($client);
};

subtest 'early data' => sub {
    my $dir = private_dir();

    # The ticket may come behind the answer.
    my $first = s_client("-sess_out $dir/session");
    s_send($first, event());
    ok s_wait($first, qr/"accepted"/), 'a session';
    wait_for { -s "$dir/session" };
    s_end($first);

    open my $file, '>', "$dir/early" or die $!;
    print {$file} event();
    close $file;
    my $client = s_client("-sess_in $dir/session -early_data $dir/early");
    ok s_wait($client, qr/"accepted"/), 'an event in early data';
    ok s_wait($client, qr/Early data was accepted/), '... which it was';
    for my $round (1 .. 3) {
        s_send($client, event());
        ok s_wait($client, qr/"accepted"/), "$round: an event behind it";
    }
    s_end($client);
};

$nginx->stop;
$redis->stop;
done_testing;
