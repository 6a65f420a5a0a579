package VocTest::Records;

# A TLS client that holds its records in its hands: they go out as they are
# given to it, several in one segment or one in pieces.
#
#   my $client = VocTest::Records->new(
#       port    => $nginx->port,
#       version => 0x0303,              # or 0x0304: TLS 1.2, 1.3
#       room    => 4096,                # SO_RCVBUF, bytes
#   );
#   my $bytes = $client->record($text); # encrypted; must be sent in this order
#   my $bytes = $client->close_notify;
#   $client->raw($bytes);               # in one segment, up to 64k
#   $client->half_close;                # FIN
#   my $answer = $client->receive;      # as VocTest::Client: post(), request()
#   $client->ended;                     # the server has closed
#   $client->unread;                    # bytes the server has yet to read
#   $client->readable;                  # there is something to receive
#   $client->segments;                  # with data, that have come so far

use strict;
use warnings;

use Carp qw(croak);
use IO::Select;
use IO::Socket::IP;
use Net::SSLeay;
use Socket qw(IPPROTO_TCP SOL_SOCKET SO_RCVBUF TCP_NODELAY);
use Time::HiRes qw(time);
use VocTest qw(slurp);
use VocTest::Client;

our @ISA = ('VocTest::Client');

sub new {
    my ($class, %options) = @_;
    my $self = bless { timeout => 10, buffer => '', %options }, $class;

    $self->{socket} = IO::Socket::IP->new(
        PeerHost => '127.0.0.1',
        PeerPort => $self->{port},
        $self->{room}
            ? (Sockopts => [[SOL_SOCKET, SO_RCVBUF, $self->{room}]]) : (),
    ) or croak "cannot connect: $@";
    setsockopt $self->{socket}, IPPROTO_TCP, TCP_NODELAY, 1;

    my $context = $self->{context} = Net::SSLeay::CTX_new();
    Net::SSLeay::CTX_set_min_proto_version($context, $self->{version});
    Net::SSLeay::CTX_set_max_proto_version($context, $self->{version});
    my $ssl = $self->{ssl} = Net::SSLeay::new($context);
    @$self{qw(in out)}
        = map { Net::SSLeay::BIO_new(Net::SSLeay::BIO_s_mem()) } 1 .. 2;
    Net::SSLeay::set_bio($ssl, $self->{in}, $self->{out});
    Net::SSLeay::set_connect_state($ssl);
    $self->handshake;
    return $self;
}

sub DESTROY {
    my ($self) = @_;

    Net::SSLeay::free($self->{ssl})         if $self->{ssl};
    Net::SSLeay::CTX_free($self->{context}) if $self->{context};
    return;
}

sub handshake {
    my ($self) = @_;
    my $end = time + $self->{timeout} * VocTest::slow();

    while (Net::SSLeay::do_handshake($self->{ssl}) != 1) {
        $self->raw($self->made);
        $self->wait_bytes($end) or croak 'closed in the handshake';
    }
    $self->raw($self->made);
    return;
}

# What OpenSSL wants to send.
sub made {
    my ($self) = @_;
    my $bytes = '';

    while (my $n = Net::SSLeay::BIO_pending($self->{out})) {
        $bytes .= Net::SSLeay::BIO_read($self->{out}, $n);
    }
    return $bytes;
}

sub record {
    my ($self, $text) = @_;

    Net::SSLeay::write($self->{ssl}, $text) == length $text
        or croak 'SSL_write() failed';
    return $self->made;
}

sub close_notify {
    my ($self) = @_;

    Net::SSLeay::shutdown($self->{ssl});
    return $self->made;
}

sub raw {
    my ($self, $bytes) = @_;

    length $bytes or return;
    (syswrite($self->{socket}, $bytes) // -1) == length $bytes
        or croak 'not sent';
    return;
}

# For VocTest::Client::request().
sub send { $_[0]->raw($_[0]->record($_[1])); return 1 }

sub half_close { $_[0]{socket}->shutdown(1); return }

# Bytes off the socket to OpenSSL: how many, 0 at the end.
sub wait_bytes {
    my ($self, $end) = @_;
    my $left = $end - time;

    IO::Select->new($self->{socket})->can_read($left > 0 ? $left : 0)
        or croak 'no answer in time';
    my $n = sysread $self->{socket}, my $bytes, 65536;
    return 0 if !$n;
    Net::SSLeay::BIO_write($self->{in}, $bytes);
    return $n;
}

# For VocTest::Client: more of the text; 0 at the end.
sub fill {
    my ($self, $end) = @_;

    while (1) {
        my $text = Net::SSLeay::read($self->{ssl}, 65536);
        if (defined $text && length $text) {
            $self->{buffer} .= $text;
            return length $text;
        }
        return 0 if !$self->wait_bytes($end);
    }
}

sub ended {
    my ($self) = @_;

    my $end = time + $self->{timeout} * VocTest::slow();
    return $self->{buffer} eq '' && eval { !$self->fill($end) };
}

# tx_queue:rx_queue of the server's end, as the kernel tells.
sub unread {
    my ($self) = @_;
    my ($mine, $theirs) = map { sprintf '%04X', $_ }
        $self->{socket}->sockport, $self->{port};

    slurp('/proc/net/tcp')
        =~ /^\s*\d+: \w+:$theirs \w+:$mine \w+ \w+:(\w+)/m or return 0;
    return hex $1;
}

sub readable { return IO::Select->new($_[0]{socket})->can_read(0) }

# tcpi_data_segs_in of Linux' struct tcp_info, which is TCP_INFO, 11.
sub segments {
    my ($self) = @_;

    return unpack 'x152 L', getsockopt $self->{socket}, IPPROTO_TCP, 11;
}

1;
