package VocTest::Rig;

# A Redis, an nginx that pushes to it, senders, and the question whether all
# that was answered 200 is on the list, once, in order.
#
#   my $rig = VocTest::Rig->new(
#       redis   => { appendonly => 1 },    # of VocTest::Redis; or one that is
#       via     => $proxy->port,           # nginx connects here instead
#       queue   => 'redis_timeout 1s;',    # more of voc_webhook_queue
#       journal => '%%DIR%%/journal size=16m',
#       workers => 2,
#       main    => '...',                  # of nginx.conf
#   )->start;
#   $rig->redis; $rig->nginx;
#   my $sender = $rig->send(rate => 100);  # a VocTest::Sender, started
#   $rig->consume('BLMOVE');               # a VocTest::Consumer, started
#   $rig->verify($name, %options);         # one test, for all up to now, also
#                                          # while senders and consumer run:
#       timeout => 20    # s until all that was accepted is there
#       mixed   => 1     # see VocTest::Ledger
#       nothing => 'refused'   # ... of the sender's answers so far
#   $rig->marker;                          # an event of its own goes all the
#                                          # way: what came before is pushed
#   $rig->http(journal => '...');          # its http { }, with changes
#   $rig->take('FLUSHALL');                # what is on the list goes to the
#                                          # test, at one moment with a command
#   $rig->journals; $rig->cursors;         # files, keys
#   $rig->drained;                         # one test: one journal is left, and
#                                          # its cursor; kills => 1: also those
#                                          # of files that a killed pusher had
#                                          # deleted, but not their cursors yet
#   $rig->pusher;                          # pid of the worker that pushes, or
#                                          # undef where none is connected; in
#                                          # a list also its socket's number

use strict;
use warnings;

use Carp qw(croak);
use Test::More;
use VocTest qw(session slurp wait_for);
use VocTest::Client qw(query sample);
use VocTest::Consumer;
use VocTest::Ledger;
use VocTest::Nginx;
use VocTest::Redis;
use VocTest::Sender;

sub new {
    my ($class, %options) = @_;
    my $self = bless {
        journal => '%%DIR%%/journal size=16m',
        queue   => 'redis_timeout 1s;',
        workers => 2,
        %options,
        senders => [],
        markers => [],
        taken   => [],
    }, $class;

    $self->{redis} = VocTest::Redis->new(%{ $options{redis} // {} })
        if ref($options{redis} // {}) eq 'HASH';
    $self->{nginx} = VocTest::Nginx->new(
        workers => $self->{workers},
        http    => $self->http,
        $options{main} ? (main => $options{main}) : (),
        $options{env}  ? (env  => $options{env})  : (),
    );
    return $self;
}

sub redis { return $_[0]{redis} }
sub nginx { return $_[0]{nginx} }

sub http {
    my ($self, %changes) = @_;
    my %options = (%$self, %changes);
    my $port = $options{via} // $self->{redis}->port;

    return <<"END";
    voc_webhook_queue calls {
        redis   127.0.0.1:$port;
        journal $options{journal};
        $options{queue}
    }
    server {
        listen 127.0.0.1:%%PORT%% ssl;
        %%SSL%%
        keepalive_requests 1000000;
        location = /voc { voc_webhook calls; voc_webhook_allow 127.0.0.1; }
    }
END
}

sub start {
    my ($self) = @_;

    $self->{redis}->start;
    # Its port may be another one than was thought of.
    $self->{nginx}->start(http => $self->http);
    return $self;
}

sub send {
    my ($self, %options) = @_;
    my $sender = VocTest::Sender->new(port => $self->{nginx}->port, %options);

    push @{ $self->{senders} }, $sender;
    return $sender->start;
}

sub consume {
    my ($self, $how) = @_;

    return $self->{consumer} = VocTest::Consumer->new(how => $how,
        socket => $self->{redis}->socket)->start;
}

# In pieces: Redis.pm is slow with very long answers.
sub range {
    my ($self, $key) = @_;
    my @lines;

    while (my @more = $self->{redis}->cli('LRANGE', $key, scalar @lines,
            @lines + 4999))
    {
        push @lines, @more;
    }
    return @lines;
}

# Both lists at one moment: a consumer moves lines from the one to the other.
sub list {
    my ($self) = @_;
    my $consumer = $self->{consumer}
        or return (@{ $self->{taken} }, $self->range('voc:events'));

    return ($consumer->lines, $self->range('voc:events'))
        if $consumer->{how} ne 'BLMOVE';
    $self->{redis}->cli('MULTI');
    $self->{redis}->cli('LRANGE', $_, 0, -1) for qw(voc:done voc:events);
    return map {@$_} $self->{redis}->cli('EXEC');
}

sub take {
    my ($self, @command) = @_;

    $self->{redis}->cli('MULTI');
    $self->{redis}->cli('LRANGE', 'voc:events', 0, -1);
    $self->{redis}->cli(@command);
    my ($lines) = $self->{redis}->cli('EXEC');
    push @{ $self->{taken} }, @$lines;
    return $self;
}

sub accepted {
    my ($self) = @_;

    return (map { @{ $_->accepted } } @{ $self->{senders} });
}

sub verify {
    my ($self, $name, %options) = @_;
    my ($text, @lines);

    # What was answered is read before the list, what was sent after it.
    $_->read for @{ $self->{senders} };
    my @accepted = map { [@$_] } $self->accepted;
    my $wanted = 0;
    $wanted += @$_ for @accepted;

    wait_for {
        @lines = eval { $self->list };
        $_->read for @{ $self->{senders} };
        my %sent = map { %{ $_->sent } } @{ $self->{senders} };
        $sent{$_} = 1 for @{ $self->{markers} };
        my %problems = VocTest::Ledger::compare(
            accepted => \@accepted,
            sent     => \%sent,
            list     => \@lines,
            mixed    => $options{mixed},
        );
        $text = VocTest::Ledger::text(%problems);
        # The others do not go away.
        !@{ $problems{lost} } || $text =~ /^(?!lost)/;
    } $options{timeout} // 20;

    for my $what (ref $options{nothing} ? @{ $options{nothing} }
        : $options{nothing} // ()) {
        $text .= "$what: " . $_->count($what) . "\n"
            for grep { $_->count($what) } @{ $self->{senders} };
    }
    $text .= join "\n", map { $_->others } @{ $self->{senders} }
        if !$options{others};
    my $good = ok $text eq '', $name;
    diag($text) if !$good;
    note("$wanted accepted, ", scalar(@lines), ' on the list; answers: ',
        join '; ', map { $_->summary } @{ $self->{senders} });
    return $good;
}

sub marker {
    my ($self, %options) = @_;
    my $callid = 'marker-' . (1 + @{ $self->{markers} });
    my $client = VocTest::Sender::Client->new(port => $self->{nginx}->port,
        tls => 1, timeout => 20);

    push @{ $self->{markers} }, $callid;
    my $answer = $client->post('/voc?'
            . query(sample('callRecordingAvailable', callid => $callid)));
    $answer && $answer->{status} == 200
        or return fail("the marker is accepted");
    wait_for { grep {/"callid":"$callid"/} eval { $self->list } }
        $options{timeout} // 20
        or fail("the marker is pushed");
    return $self;
}

sub drained {
    my ($self, %options) = @_;
    my (@journals, @cursors);

    my $good = ok wait_for {
        @journals = $self->journals;
        @cursors  = $self->cursors;
        @journals == 1 && ($options{kills} || @cursors == 1);
    }, 'one journal is left, and its cursor' or diag("@journals @cursors");
    note('cursors left behind: ', @cursors - 1) if @cursors > 1;
    return $good;
}

# The one that has a connection to Redis.
sub pusher {
    my ($self) = @_;
    my $port = sprintf '%04X', $self->{via} // $self->{redis}->port;
    my %inode = map { $_ => 1 } slurp('/proc/net/tcp')
        =~ /^ *\d+: [0-9A-F:]+ [0-9A-F]{8}:$port 01 (?:\S+ +){5}(\d+)/mg;

    for my $pid (session($self->{nginx}{session} // return)) {
        for my $fd (glob "/proc/$pid/fd/*") {
            my ($inode) = (readlink($fd) // '') =~ /^socket:\[(\d+)\]/;
            return wantarray ? ($pid, $fd =~ s{.*/}{}r) : $pid
                if $inode && $inode{$inode};
        }
    }
    return;
}

sub journals {
    my ($self) = @_;

    my @files = sort glob $self->{nginx}->dir . '/journal/*.journal';

    return @files;
}

sub cursors {
    my ($self) = @_;

    my @keys = $self->{redis}->cli('KEYS', '{voc:events}:cursor:*');

    return @keys;
}

1;
