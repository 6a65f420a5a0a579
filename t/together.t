# Answers of one turn of the event loop go to the kernel together: each to the
# connection that it is for, whole, whatever becomes of the connections and of
# io_uring.

use strict;
use warnings;

use Test::More;
use VocTest qw(private_dir slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Nginx;
use VocTest::Records;
use VocTest::Redis;

plan skip_all => 'LD_PRELOAD is in use' if $ENV{VOC_PRELOAD};

my $dir = private_dir();
chmod 0777, $dir;

# What the kernel has done of each submission is written down: bytes or -errno.
open my $source, '>', "$dir/watch.c" or die $!;
print {$source} <<'END';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int
io_uring_queue_init(unsigned entries, struct io_uring *ring, unsigned flags)
{
    int (*real)(unsigned, struct io_uring *, unsigned)
        = dlsym(RTLD_NEXT, "io_uring_queue_init");

#ifdef FORBIDDEN
    return -EPERM;
#endif
    return real(entries, ring, flags);
}

int
io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
    int (*real)(struct io_uring *, unsigned)
        = dlsym(RTLD_NEXT, "io_uring_submit_and_wait");
    int log, rc;
    char text[1024], *p = text;
    unsigned head;
    struct io_uring_cqe *cqe;

#ifdef FAILS
    return -EAGAIN;
#endif
    rc = real(ring, n);

    io_uring_for_each_cqe(ring, head, cqe) {
        p += sprintf(p, "%d ", cqe->res);
    }
    *p++ = '\n';

    log = open(LOG, O_WRONLY | O_APPEND | O_CREAT, 0666);
    if (write(log, text, p - text) == -1) {
        abort();
    }
    close(log);
    return rc;
}

#ifdef ENDS
/* nginx ends a connection that it cannot set TCP_NODELAY for. */
int
setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    int (*real)(int, int, int, const void *, socklen_t)
        = dlsym(RTLD_NEXT, "setsockopt");

    if (level == IPPROTO_TCP && name == TCP_NODELAY) {
        errno = EIO;
        return -1;
    }
    return real(fd, level, name, value, len);
}
#endif
END
close $source;

my $redis = VocTest::Redis->new->start;
my $n     = 0;

# An nginx that was built with -DFLAG, or none.
sub nginx {
    my ($flag, %options) = @_;
    my $library = "$dir/watch$flag.so";

    system("@{[ $ENV{CC} // 'gcc' ]} -shared -fPIC @{[ $flag && qq{-D$flag} ]}"
        . " -DLOG='\"$dir/log\"' -o $library $dir/watch.c -ldl") == 0
        or die 'no compiler';
    unlink "$dir/log";
    $redis->cli('DEL', 'voc:events');
    my $nginx = VocTest::Nginx->new(workers => 1,
        env => { LD_PRELOAD => $library }, %options, http => <<"END");
    voc_webhook_queue calls {
        redis   127.0.0.1:@{[ $redis->port ]};
        journal %%DIR%%/journal size=16m;
    }
    log_format sent \$bytes_sent;
    server {
        access_log %%DIR%%/sent sent;
        listen 127.0.0.1:%%PORT%% sndbuf=4k;
        listen 127.0.0.1:%%PORT_TLS%% ssl sndbuf=4k;
        %%SSL%%
        ssl_protocols TLSv1.3;
        keepalive_requests 100000;
        location = /voc  { voc_webhook calls; voc_webhook_allow 127.0.0.1;
                           voc_webhook_https off; }
        location = /text  { return 200 text; }
        location = /large { return 200 "@{[ 'x' x 2000 ]}"; }
        location = /form { voc_webhook calls; voc_webhook_allow 127.0.0.1;
                           voc_webhook_https off; post_action /text; }
    }
END
    # The descriptors of nginx are its clients' from here on.
    $nginx->expect_log(qr/TCP_NODELAY\) failed/)->start;
    $nginx->{first} = VocTest::Client->new(port => $nginx->port);
    $nginx->{first}->send(event(callid()));
    $redis->wait_events(1);
    $redis->cli('DEL', 'voc:events');
    return $nginx;
}

sub sockets {
    my ($worker) = $_[0]->workers;
    return scalar grep { (readlink // '') =~ /^socket/ } glob "/proc/$worker/fd/*";
}

sub connected {
    my ($nginx, $tls, @options) = @_;

    return $tls
        ? VocTest::Records->new(port => $nginx->port('TLS'),
            version => 0x0304, @options)
        : VocTest::Client->new(port => $nginx->port, @options)->connect;
}

# nginx has accepted it.
sub client {
    my ($nginx, @options) = @_;
    my $before = sockets($nginx);
    my $client = connected($nginx, @options);

    wait_for { sockets($nginx) > $before };
    return $client;
}

sub callid { return 'c' . ++$n }

sub event {
    my ($callid, %options) = @_;

    return join "\r\n", 'POST ' . ($options{path} // '/voc') . '?'
            . query(sample('ivrOption', callid => $callid)) . ' HTTP/1.1',
        'Host: x', @{ $options{headers} // [] }, '', $options{body} // '';
}

# All that is sent meanwhile the worker finds at once.
sub in_one_turn {
    my ($nginx, $code) = @_;
    my ($worker) = $nginx->workers;

    kill 'STOP', $worker;
    wait_for { slurp("/proc/$worker/stat") =~ /\) T/ };
    $code->();
    kill 'CONT', $worker;
    return;
}

sub submissions { return map { [split] } split /\n/, slurp("$dir/log") }

# callid => id of all that is on the list.
sub listed {
    my ($count) = @_;

    return map { ($_->{callid} => $_->{id}) } $redis->wait_events($count);
}

# Each of these [client, callid] gets one answer, with the id of its event.
sub answered {
    my ($name, $count, @sent) = @_;
    my %answer = map { ($_->[1] => scalar eval { $_->[0]->receive }) } @sent;
    my %id = listed($count);
    my $wrong = grep {
        !$answer{ $_->[1] } || $answer{ $_->[1] }{status} != 200
            || $answer{ $_->[1] }->json->{id} ne $id{ $_->[1] }
    } @sent;

    is $wrong, 0, "$name: each has its own answer";
    is scalar(grep { $_->[0]{buffer} ne '' } @sent), 0, 'and no other';
    return;
}

sub send_all {
    my ($nginx, @clients) = @_;
    my @sent = map { [$_, callid()] } @clients;

    in_one_turn($nginx, sub { $_->[0]->send(event($_->[1])) for @sent });
    return @sent;
}

# ---- many connections ------------------------------------------------------------

for (['plain', 0], ['TLS', 1]) {
    my ($name, $tls) = @$_;
    my $nginx   = nginx('');
    my @clients = map { client($nginx, $tls) } 1 .. 36;

    # The first answer of a TLS connection may come behind the handshake's.
    answered("$name, first", 36, send_all($nginx, @clients));
    unlink "$dir/log";
    answered($name, 72, send_all($nginx, @clients));
    is join(' ', map { scalar @$_ } submissions()), '8 8 8 8 4',
        'eight of them in one system call';
    is scalar(grep { $_ < 0 } map {@$_} submissions()), 0, 'at the first try';

    # One alone takes the way that is shorter for it.
    unlink "$dir/log";
    answered("$name, alone", 73, send_all($nginx, $clients[0]));
    is scalar(submissions()), 0, 'without io_uring';

    # Several of one connection, in their order; with others' in between, or not.
    my $pipelined = sub {
        my ($count, @first) = @_;
        my @sent = map { my $client = $_; map { [$client, callid()] } 1 .. 5 } @first;

        in_one_turn($nginx, sub {
            for my $client (@first) {
                $client->send(join '', map { event($_->[1]) }
                    grep { $_->[0] == $client } @sent);
            }
        });
        answered("$name, pipelined", $count, @sent);
    };
    $pipelined->(93, @clients[0 .. 3]);
    $pipelined->(98, $clients[0]);
    my %sizes = map { ($_ => 1) } split /\n/, slurp($nginx->dir . '/sent');
    is scalar(keys %sizes), 1, '$bytes_sent is of one answer';
    $nginx->stop;
}

# ---- where the connection does not stay --------------------------------------------

{
    my $nginx   = nginx('');
    my @clients = map { client($nginx) } 1 .. 8;
    my @sent    = map { [$_, callid()] } @clients;
    my @kinds   = (
        {}, { headers => ['Connection: close'] }, { path => '/form' },
        { headers => ['Content-Length: 5'], body => 'part' },
    );

    in_one_turn($nginx, sub {
        $sent[$_][0]->send(event($sent[$_][1], %{ $kinds[$_ % 4] })) for 0 .. 7;
    });
    answered('some that end', 8, @sent);
    is join(' ', map { scalar @$_ } submissions()), '4',
        'those that stay go together';
    $_->close for @clients;

    # Senders that send no more: behind half of the next request, of a body.
    my $before = 8;
    for my $kind ([''], ['POST /vo'], ['', headers => ['Content-Length: 5']]) {
        my ($more, @options) = @$kind;
        @clients = map { client($nginx) } 1 .. 4;
        @sent    = map { [$_, callid()] } @clients;
        in_one_turn($nginx, sub {
            $_->[0]->send(event($_->[1], @options) . $more) for @sent;
            shutdown $_->[0]{socket}, 1 for @sent;
        });
        answered('no more to come', $before += 4, @sent);
    }

    # What is no event is sent as nginx does it.
    @clients = map { client($nginx) } 1 .. 4;
    answered('before the last', $before += 4, send_all($nginx, @clients));
    in_one_turn($nginx, sub {
        $_->send("GET /text HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            for @clients;
    });
    is scalar(grep { eval { $_->receive->{body} } eq 'text' } @clients), 4,
        'another answer, the last';
    $nginx->stop;
}

# nginx ends them in the same turn; the descriptor of one is another's by then.
{
    my $nginx   = nginx('ENDS');
    my @clients = map { client($nginx) } 1 .. 4;
    my @others;

    in_one_turn($nginx, sub {
        $_->send(event(callid())) for @clients;
        push @others, connected($nginx) for 1 .. 4;
        $_->send("GET /text HTTP/1.1\r\nHost: x\r\n\r\n") for @others;
    });
    is scalar(grep { $_->receive->{body} ne 'text' } @others), 0,
        'who has the descriptor of another gets none of its answers';
    is scalar(grep { defined $_->receive } @clients), 0,
        'that one has ended without';
    is scalar(@{[ $redis->wait_events(4) ]}), 4, 'its event is there';
    $nginx->stop;
}

# ---- a sender that does not read ---------------------------------------------------

# An event that is a form; nginx says "100 Continue" first, by another function.
sub form {
    my ($callid) = @_;
    my $body = query(sample('ivrOption', callid => $callid));

    return join "\r\n", 'POST /voc HTTP/1.1', 'Host: x',
        'Content-Type: application/x-www-form-urlencoded',
        'Content-Length: ' . length $body, 'Expect: 100-continue', '', $body;
}

# Takes all that the kernel has for it.
sub drain {
    my ($client) = @_;

    wait_for { 1 while defined $client->read_some; !$client->stuck };
    return;
}

# more: rounds of events behind the answer that has no room.
sub no_room {
    my ($name, $tls, $more) = @_;
    my $nginx   = nginx('');
    my @clients = map { client($nginx, $tls, room => 4096) } 1 .. 3;
    my @sent;
    my $full = sub {
        my @done = submissions();
        my ($size) = sort { $b <=> $a } map {@$_} @done;
        return grep { $_ < $size } map {@$_} @done[1 .. $#done];
    };

    for (1 .. 1_000) {
        push @sent, send_all($nginx, @clients);
        wait_for { submissions() == @sent / 3 };
        last if $full->();
    }
    ok $full->(), "$name: no room for an answer" or diag scalar @sent;
    if ($more eq 'form') {
        my @forms = map { [$_, callid()] } @clients;
        in_one_turn($nginx, sub {
            drain($_) for @clients;
            $_->[0]->send(form($_->[1])) for @forms;
        });
        push @sent, @forms;
    }
    elsif ($more eq 'close') {
        my @last = map { [$_, callid()] } @clients;
        in_one_turn($nginx, sub {
            $_->[0]->send(event($_->[1], headers => ['Connection: close'])) for @last;
        });
        push @sent, @last;
    }
    elsif ($more eq 'large') {
        $_->send("GET /large HTTP/1.1\r\nHost: x\r\n\r\n") for @clients;
        eval { $_->[0]->receive } for @sent;
        is scalar(grep { length $_->receive->{body} != 2000 } @clients), 0,
            "$name: behind it what is larger";
    }
    else {
        push @sent, send_all($nginx, @clients) for 1 .. $more;
    }
    answered($name, scalar @sent, @sent) if $more ne 'large';
    answered("$name, later", @sent + 3, send_all($nginx, @clients))
        if $more ne 'close';
    $nginx->stop;
    return;
}

no_room('plain', 0, 0);
no_room('plain, then room', 0, 'form');
no_room('plain, and another', 0, 'large');
no_room('TLS, and another', 1, 'large');
no_room('plain, and the last', 0, 'close');
no_room('TLS, and the last', 1, 'close');
no_room('plain, and more', 0, 2);
no_room('TLS', 1, 0);
no_room('TLS, and more', 1, 2);

# ---- without io_uring ------------------------------------------------------------------

{
    my $nginx   = nginx('FORBIDDEN');
    my @clients = map { client($nginx) } 1 .. 20;

    answered('not permitted', 20, send_all($nginx, @clients));
    like $nginx->error_log, qr/\[notice\].*no io_uring.*not permitted/,
        'and said so';
    $nginx->stop;
}

{
    my $nginx = nginx('FAILS')->expect_log(qr/io_uring has not sent/);
    my @clients = map { client($nginx) } 1 .. 20;

    answered('broken', 20, send_all($nginx, @clients));
    answered('from then on', 40, send_all($nginx, @clients));
    is scalar(() = $nginx->error_log =~ /\[alert\].*io_uring has not/g), 1,
        'and said so, once';
    $nginx->stop;
}

# ---- short of connections ---------------------------------------------------------------

# nginx ends the one that has been idle for longest, here one of this turn: the
# others have a request that is not whole.
{
    my $nginx = nginx('', connections => 64)
        ->expect_log(qr/worker_connections are not enough, reusing/);
    my @busy;
    my $reuses = sub { $nginx->error_log =~ /not enough, reusing/ };

    while (!$reuses->() && @busy < 64) {
        my $before = sockets($nginx);
        push @busy, connected($nginx);
        $busy[-1]->send('POST /voc');
        wait_for { sockets($nginx) > $before || $reuses->() };
    }
    ok @busy < 64, 'few connections';
    my $left = sockets($nginx) - 2;
    (shift @busy)->close for 1 .. 2;
    wait_for { sockets($nginx) == $left };
    my @clients = map { client($nginx) } 1 .. 2;
    my @sent    = map { [$_, callid()] } @clients;
    my @new;

    in_one_turn($nginx, sub {
        $_->[0]->send(event($_->[1])) for @sent;
        push @new, connected($nginx);
    });
    answered('few connections', 2, @sent);
    $_->close for @busy, @new;
    $nginx->stop;
}

$redis->stop;
done_testing;
