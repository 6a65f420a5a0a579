package VocTest::Client;

# A client that sends what it is told, byte for byte.
#
#   my $client = VocTest::Client->new(
#       port    => $nginx->port,    # of 127.0.0.1; or unix => '/path'
#       tls     => 1,
#       ip6     => 1,               # ::1
#       local   => '127.0.0.2',     # source address
#       timeout => 10,              # s
#       room    => 4096,            # SO_RCVBUF, bytes
#   );
#   my $answer = $client->post('/voc?event=...');
#   my $answer = $client->request('POST', $target,
#       headers => ['X-A' => 1, ...], body => '...', version => '1.0');
#       # {status, reason, headers => {lower case => value}, body}
#   $answer->json;                  # the body, decoded
#
# The connection is kept and made again where it was closed.  By hand:
#   $client->send($bytes); $client->receive($method);    # pipelining, rubbish
#   $client->receive returns undef where the connection is closed instead.
#   $client->close;
#   $client->stuck;                 # bytes that wait at the server for room
#   $client->{largest};             # bytes of the largest read: with TLS, of
#                                   # a record; may be set to 0
#
#   $client->http2('POST', $target, headers => [...], body => '...');  # curl
#
# Exported on request:
#   query(name => value, ...)       # encoded, in this order
#   sample('ivrOption', extension => 5, crm_id => undef)
#       # the portal's test event as a list of name => value; undef drops one
#   sample_events()                 # the ten names
#   samples(%changes)               # the ten as [name => value, ...]

use strict;
use warnings;

use Carp qw(croak);
use Errno;
use Exporter qw(import);
use IO::Select;
use IO::Socket::INET;
use IO::Socket::IP;
use IO::Socket::SSL;
use IO::Socket::UNIX;
use Socket qw(SOL_SOCKET SO_RCVBUF);
use Time::HiRes qw(time);
use VocTest;

our @EXPORT_OK = qw(query sample sample_events samples);

# ---- events ------------------------------------------------------------------

my %values = (
    inboundNumber    => '611800111222',
    callerid         => '61288880000',
    extension        => '280085',
    destination      => '61288880000',
    duration         => '88',
    answeredDuration => '77',
    ivrOption        => '1',
);

my @inbound = qw(inboundNumber callerid);
my @ends    = qw(duration answeredDuration);
my @events  = (
    [inboundCallStart           => @inbound],
    [inboundCallRinging         => @inbound, 'extension'],
    [inboundCallAnswered        => @inbound, 'extension'],
    [inboundCallEnd             => @inbound, 'extension', @ends],
    [outboundCallStart          => qw(extension destination)],
    [outboundCallAnswered       => qw(extension destination)],
    [outboundCallEnd            => qw(extension destination), @ends],
    [ivrOption                  => @inbound, 'ivrOption'],
    [callRecordingAvailable     => ()],
    [callTranscriptionAvailable => ()],
);

sub sample_events { return map { $_->[0] } @events }

sub sample {
    my ($name, @changes) = @_;
    my ($event) = grep { $_->[0] eq $name } @events or croak $name;
    my (undef, @names) = @$event;
    my @fields = (
        event  => $name,
        date   => '2024-01-01 19:00',
        callid => 'testcall',
        crm_id => 'usefulid',
        map { $_ => $values{$_} } @names,
    );

    while (my ($field, $value) = splice @changes, 0, 2) {
        my ($at) = grep { $fields[$_] eq $field && $_ % 2 == 0 } 0 .. $#fields;
        if    (!defined $value) { splice @fields, $at, 2 if defined $at }
        elsif (defined $at)     { $fields[ $at + 1 ] = $value }
        else                    { push @fields, $field, $value }
    }
    return @fields;
}

sub samples {
    my @changes = @_;

    return map { [sample($_, @changes)] } sample_events();
}

sub encode {
    my ($text) = @_;

    utf8::encode($text) if utf8::is_utf8($text);
    $text =~ s/([^A-Za-z0-9_.~-])/sprintf '%%%02X', ord $1/ge;
    return $text;
}

sub query {
    my @fields = @_;
    my @pairs;

    while (my ($name, $value) = splice @fields, 0, 2) {
        push @pairs, encode($name) . '=' . encode($value);
    }
    return join '&', @pairs;
}

# ---- connection ----------------------------------------------------------------

sub new {
    my ($class, %options) = @_;

    return bless { timeout => 10, %options }, $class;
}

sub connect {
    my ($self) = @_;
    my %tls = (SSL_verify_mode => SSL_VERIFY_NONE, SSL_hostname => 'localhost');
    my $socket;

    if ($self->{unix}) {
        $socket = IO::Socket::UNIX->new(Peer => $self->{unix});
    }
    else {
        $socket = IO::Socket::IP->new(
            PeerHost => $self->{ip6} ? '::1' : '127.0.0.1',
            PeerPort => $self->{port},
            Timeout  => $self->{timeout},
            $self->{local} ? (LocalHost => $self->{local}) : (),
            $self->{room}
                ? (Sockopts => [[SOL_SOCKET, SO_RCVBUF, $self->{room}]]) : (),
        );
    }
    croak "cannot connect: $@ $!" if !$socket;
    if ($self->{tls}) {
        IO::Socket::SSL->start_SSL($socket, %tls)
            or croak "TLS: $SSL_ERROR";
    }
    @$self{qw(socket buffer)} = ($socket, '');
    return $self;
}

sub close {
    my ($self) = @_;

    my $socket = delete $self->{socket};
    $socket->close if $socket;
    return $self;
}

# False where the connection was closed meanwhile.
sub usable {
    my ($self) = @_;

    return 0 if !$self->{socket};
    return 1 if $self->{buffer} ne '';
    my $n = $self->read_some;
    return !defined $n || $n > 0;
}

sub send {
    my ($self, $bytes) = @_;

    $self->connect if !$self->usable;
    while (length $bytes) {
        my $n = syswrite $self->{socket}, $bytes;
        return 0 if !$n;
        substr $bytes, 0, $n, '';
    }
    return 1;
}

# Reads what is there: bytes, 0 at the end, undef for nothing.  With TLS a
# readable socket may hold a session ticket and no data.
sub read_some {
    my ($self) = @_;
    my $socket = $self->{socket};

    $socket->blocking(0);
    my $n = sysread $socket, $self->{buffer}, 65536, length $self->{buffer};
    $self->{largest} = $n if ($n // 0) > ($self->{largest} // 0);
    my $nothing = !defined $n
        && ($self->{tls} ? $SSL_ERROR == SSL_WANT_READ : $!{EAGAIN});
    $socket->blocking(1);
    return $nothing ? undef : $n // 0;
}

# What the server's socket still holds, bytes: ours is full.
sub stuck {
    my ($self) = @_;
    my ($mine, $theirs) = map { sprintf '%04X', $_ }
        $self->{socket}->sockport, $self->{socket}->peerport;

    return VocTest::slurp('/proc/net/tcp')
        =~ /^\s*\d+: \w+:$theirs \w+:$mine \w+ (\w+):/m && hex $1;
}

# Reads more; 0 at the end.
sub fill {
    my ($self, $end) = @_;

    while (1) {
        my $n = $self->read_some;
        return $n if defined $n;

        my $left = $end - time;
        croak 'no answer in time' if $left <= 0;
        IO::Select->new($self->{socket})->can_read($left);
    }
}

# All up to mark, which is dropped; undef where the connection ends first.
sub take {
    my ($self, $end, $mark) = @_;
    my $at;

    while (($at = index $self->{buffer}, $mark) < 0) {
        return undef if !$self->fill($end);
    }
    my $text = substr $self->{buffer}, 0, $at + length $mark, '';
    return substr $text, 0, $at;
}

sub receive {
    my ($self, $method) = @_;
    my $end = time + $self->{timeout} * VocTest::slow();
    my ($status, $reason, %headers);

    # An interim answer is followed by the final one.
    do {
        my $head = $self->take($end, "\r\n\r\n") // return undef;
        my ($line, @lines) = split /\r\n/, $head;
        ($status, $reason) = $line =~ m{^HTTP/1\.[01] (\d+) ?(.*)}
            or croak "bad status line: $line";
        %headers = ();
        for (@lines) {
            my ($name, $value) = /^([^:\s]+):\s*(.*?)\s*$/
                or croak "bad header: $_";
            $name = lc $name;
            $headers{$name}
                = exists $headers{$name} ? "$headers{$name}, $value" : $value;
        }
    } while ($status < 200);

    my $body = '';
    if (($method // '') ne 'HEAD' && $status != 204 && $status != 304) {
        $body = $self->receive_body($end, \%headers);
    }
    $self->close if lc($headers{connection} // '') eq 'close';
    return bless {
        status  => $status,
        reason  => $reason,
        headers => \%headers,
        body    => $body,
    }, 'VocTest::Client::Answer';
}

sub receive_body {
    my ($self, $end, $headers) = @_;
    my $length = $headers->{'content-length'};
    my $body   = '';

    if (defined $length) {
        while (length $self->{buffer} < $length) {
            $self->fill($end) or croak 'the body is cut short';
        }
        return substr $self->{buffer}, 0, $length, '';
    }
    if (($headers->{'transfer-encoding'} // '') ne 'chunked') {
        1 while $self->fill($end);
        $body = $self->{buffer};
        $self->close;
        return $body;
    }
    while (1) {
        my $size = hex($self->take($end, "\r\n")
                // croak 'the body is cut short');
        while (length $self->{buffer} < $size + 2) {
            $self->fill($end) or croak 'the body is cut short';
        }
        $body .= substr $self->{buffer}, 0, $size, '';
        substr $self->{buffer}, 0, 2, '';
        return $body if $size == 0;
    }
}

# ---- requests --------------------------------------------------------------------

sub request {
    my ($self, $method, $target, %options) = @_;
    my $version = $options{version} // '1.1';
    my @headers = @{ $options{headers} // [] };
    my $text    = "$method $target HTTP/$version\r\n";
    my %named   = map { $_ % 2 ? () : (lc $headers[$_] => 1) } 0 .. $#headers;

    unshift @headers, Host => 'localhost' if !$named{host};
    push @headers, 'Content-Length' => length($options{body} // '')
        if (defined $options{body} || $method eq 'POST')
        && !$named{'content-length'}
        && !$named{'transfer-encoding'};
    while (my ($name, $value) = splice @headers, 0, 2) {
        $text .= "$name: $value\r\n";
    }
    $self->send("$text\r\n" . ($options{body} // ''));
    return $self->receive($method);
}

sub post {
    my ($self, $target, %options) = @_;

    return $self->request('POST', $target, %options);
}

sub http2 {
    my ($self, $method, $target, %options) = @_;
    my @headers = @{ $options{headers} // [] };
    my $scheme  = $self->{tls} ? 'https' : 'http';
    my @command = (
        qw(curl -sS -k -i --max-time), $self->{timeout} * VocTest::slow(),
        $self->{tls} ? '--http2' : '--http2-prior-knowledge',
        '--path-as-is', '-X', $method,
    );

    while (my ($name, $value) = splice @headers, 0, 2) {
        push @command, '-H', "$name: $value";
    }
    push @command, '--data-binary', $options{body} if defined $options{body};
    open my $pipe, '-|', @command, '--request-target', $target,
        "$scheme://127.0.0.1:$self->{port}/"
        or croak "curl: $!";
    binmode $pipe;
    my $text = do { local $/; <$pipe> };
    CORE::close($pipe) or croak "curl failed: $?";

    my ($head, $body) = $text =~ /\A(HTTP\/2 .*?)\r\n\r\n(.*)\z/s
        or croak "no HTTP/2 answer: $text";
    my ($line, @lines) = split /\r\n/, $head;
    return bless {
        status  => (split ' ', $line)[1],
        reason  => '',
        headers => { map { /^([^:]+):\s*(.*)$/ ? (lc $1 => $2) : () } @lines },
        body    => $body,
    }, 'VocTest::Client::Answer';
}

package VocTest::Client::Answer;

use JSON::PP ();

sub json { return JSON::PP::decode_json($_[0]{body}) }

1;
