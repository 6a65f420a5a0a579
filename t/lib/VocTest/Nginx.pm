package VocTest::Nginx;

# A private nginx with the module.
#
#   my $nginx = VocTest::Nginx->new(
#       http    => '...',     # what stands in http { }
#       main    => '...',     # on top, such as "worker_shutdown_timeout 1s;"
#       events  => '...',     # in events { }
#       connections => 512,   # worker_connections
#       workers => 2,
#       conf    => '...',     # or all of the file
#       env     => { NAME => 'value' },
#   );
#
# In these texts:
#   %%PORT%%, %%PORT_1%%, ...   free ports
#   %%DIR%%                     a private directory; journal/ in it is empty
#                               and the workers' own
#   %%SSL%%                     ssl_certificate and ssl_certificate_key
#   %%CERT%%, %%KEY%%           their files
#   %%LOG%%, %%MODULE%%         for conf: the error log, the module
#
#   $nginx->start;                  # dies with the log where it does not
#   $nginx->port; $nginx->port(1); $nginx->dir; $nginx->pid;   # of the master
#   $nginx->workers;                # pids
#   $nginx->reload(http => '...');  # waits for the new workers, returns the
#                                   # pids of the old ones; old => 1: waits
#                                   # for their end, too
#   $nginx->stop;                   # SIGQUIT
#   $nginx->terminate;              # SIGTERM
#   $nginx->kill;                   # SIGKILL to master and workers
#   $nginx->adopt($pid);            # the master from now on: binary upgrade
#   $nginx->restart(http => '...'); # stop, start: same ports and directory
#   my ($exit, $output) = $nginx->test_config(http => '...');   # nginx -t
#   $nginx->error_log;              # its text, at level info
#   $nginx->wait_log(qr/.../, $timeout);    # dies where it does not come
#   $nginx->expect_log(qr/.../);    # such lines do not make the test fail

use strict;
use warnings;

use Carp qw(croak);
use File::Glob qw(:bsd_glob);
use VocTest qw(build_dir certificate complain end_session free_port
    private_dir reap register session slurp spawn wait_for worker_user);

my @sections = qw(conf connections env events http main workers);

sub new {
    my ($class, %options) = @_;
    my $self = bless {
        workers => 2,
        %options,
        dir      => private_dir(),
        ports    => {},
        expected => [],
    }, $class;

    for my $name (qw(journal temp)) {
        my (undef, $uid, $gid) = worker_user();
        mkdir "$self->{dir}/$name", 0700 or croak $!;
        chown $uid, $gid, "$self->{dir}/$name";
    }
    mkdir "$self->{dir}/logs" or croak $!;    # nginx's own default
    register($self);
    return $self;
}

sub dir       { return $_[0]{dir} }
sub adopt     { $_[0]{pid} = $_[1]; return $_[0] }
sub pid       { return $_[0]{pid} }
sub error_log { return slurp("$_[0]{dir}/error.log") }

sub port {
    my ($self, $n) = @_;

    return $self->{ports}{ $n // '' } //= free_port();
}

sub expect_log {
    my ($self, @patterns) = @_;

    push @{ $self->{expected} }, @patterns;
    return $self;
}

# ---- configuration ---------------------------------------------------------

sub template {
    my ($self) = @_;
    my ($user) = worker_user();
    my $temp = join '', map {"    ${_}_temp_path %%DIR%%/temp;\n"}
        qw(client_body proxy fastcgi uwsgi scgi);
    $user = $> == 0 ? "user $user nogroup;\n" : '';

    return <<"END";
load_module "%%MODULE%%";
daemon off;
${user}worker_processes $self->{workers};
pid %%DIR%%/nginx.pid;
lock_file %%DIR%%/nginx.lock;
error_log %%LOG%% info;
@{[ $self->{main} // '' ]}
events { worker_connections @{[ $self->{connections} // 512 ]}; @{[ $self->{events} // '' ]} }
http {
    access_log off;
$temp
@{[ $self->{http} // '' ]}
}
END
}

sub render {
    my ($self, $log) = @_;
    my $text = $self->{conf} // $self->template;
    my ($certificate, $key) = certificate();
    my %values = (
        CERT   => $certificate,
        DIR    => $self->{dir},
        KEY    => $key,
        LOG    => $log,
        MODULE => build_dir() . '/ngx_http_voc_webhook_module.so',
        SSL    => "ssl_certificate $certificate; ssl_certificate_key $key;",
    );

    $text =~ s/%%PORT(?:_(\w+))?%%/$self->port($1)/ge;
    $text =~ s/%%(\w+)%%/$values{$1} \/\/ croak "%%$1%%?"/ge;
    return $text;
}

sub write_conf {
    my ($self, $name, $log) = @_;
    my $path = "$self->{dir}/$name";

    open my $file, '>', $path or croak $!;
    print {$file} $self->render($log);
    close $file or croak $!;
    return $path;
}

sub configure {
    my ($self, %options) = @_;

    for my $name (keys %options) {
        croak "unknown option $name" if !grep { $_ eq $name } @sections;
        $self->{$name} = $options{$name};
    }
    delete $self->{conf} if $options{http};
    return;
}

sub command {
    my ($self, @arguments) = @_;
    my %env = %{ $self->{env} // {} };
    # nginx takes a variable of this name for the sockets of an upgrade.
    my @command = (qw(env -u NGINX), map {"$_=$env{$_}"} sort keys %env);

    push @command, "LD_PRELOAD=$ENV{VOC_PRELOAD}" if $ENV{VOC_PRELOAD};
    push @command, qw(valgrind -q --vgdb=no --num-callers=20),
        "--log-file=$self->{dir}/valgrind.%p"
        if $ENV{VOC_VALGRIND};
    local $ENV{PATH} = "$ENV{PATH}:/usr/local/sbin:/usr/sbin";
    my $nginx = $ENV{NGINX}
        // (grep {-x} map {"$_/nginx"} split /:/, $ENV{PATH})[0]
        // croak 'no nginx';
    return @command, $nginx, '-p', $self->{dir}, @arguments;
}

# (exit status, output) of nginx -t with these options instead of its own.
sub test_config {
    my ($self, %options) = @_;
    my $copy = bless {%$self}, ref $self;

    $copy->configure(%options);
    my $conf = $copy->write_conf('nginx-test.conf', "$self->{dir}/test.log");
    my @command = $copy->command('-t', '-c', $conf);
    my $pid     = open(my $pipe, '-|') // croak "fork: $!";
    if (!$pid) {
        open STDERR, '>&', \*STDOUT;
        exec @command or POSIX::_exit(127);
    }
    my $output = join '', <$pipe>;
    close $pipe;
    return ($? & 127 ? 128 + ($? & 127) : $? >> 8, $output);
}

# ---- processes -------------------------------------------------------------

sub workers {
    my ($self) = @_;
    my $pid = $self->{pid} or return;

    return grep {
        slurp("/proc/$_/cmdline") =~ /^nginx: worker process(?! is shut)/
            || $ENV{VOC_VALGRIND}
    } split ' ', slurp("/proc/$pid/task/$pid/children");
}

# nginx tries again for 2.5 s: someone's outgoing connection may have the port.
my $taken = qr/bind\(\) to .* failed \(98: |try again to bind/;

# Whether n workers run, none of them in old; a true text where it is hopeless.
sub workers_up {
    my ($self, $offset, %old) = @_;

    return 'it ended' if reap($self->{pid});
    for (grep {/\[emerg\]/} split /\n/, substr $self->error_log, $offset) {
        return $_ if !/$taken/;
    }
    my $n = grep { !$old{$_} } $self->workers;
    return $n >= $self->{workers};
}

# Sockets are open before the pid file is there.
sub start {
    my ($self, %options) = @_;
    my $log = "$self->{dir}/error.log";

    $self->configure(%options);
    for (1 .. 5) {
        my $old = length $self->error_log;
        my $conf = $self->write_conf('nginx.conf', $log);

        unlink "$self->{dir}/nginx.pid";
        $self->{pid} = $self->{session} = spawn(
            "$self->{dir}/output.log", $self->command('-c', $conf));
        my $up = wait_for {
            my $state = $self->workers_up($old);
            $state eq '1' ? -s "$self->{dir}/nginx.pid" && 1 : $state
        };
        if (($up // '') eq '1') {
            $self->{started} = 1;
            return $self;
        }

        end_session($self->{session});
        delete $self->{pid};
        my $text = substr($self->error_log, $old)
            . slurp("$self->{dir}/output.log");
        croak "nginx does not start:\n$text"
            if $text !~ /$taken/ || $self->{started};
        truncate $log, $old;
        truncate "$self->{dir}/output.log", 0;
        $self->{ports} = {};
    }
    croak 'nginx finds no port';
}

sub reload {
    my ($self, %options) = @_;
    my $wait    = delete $options{old};
    my @old     = $self->workers;
    my $offset  = length $self->error_log;

    $self->configure(%options);
    $self->write_conf('nginx.conf', "$self->{dir}/error.log");
    CORE::kill('HUP', $self->{pid});
    my $up = wait_for { $self->workers_up($offset, map { $_ => 1 } @old) };
    croak 'nginx does not reload: ', $up // 'timeout'
        if ($up // '') ne '1';
    if ($wait) {
        wait_for { !grep { -d "/proc/$_" } @old }
            or croak "old workers @old do not end";
    }
    return @old;
}

# What the session still holds once the master has ended must end by itself.
sub end {
    my ($self, $signal) = @_;
    my $pid = $self->{pid} or return;
    my $session = $self->{session};

    CORE::kill('CONT', session($session));
    CORE::kill($signal, $pid);
    my $ended  = wait_for { reap($pid) };
    my $status = $?;
    wait_for { reap($session); !session($session) } 2;
    if (my @left = session($session)) {
        complain("nginx: processes @left did not end on SIG$signal");
        end_session($session);
    }
    elsif ($ended && $status != 0) {
        complain("nginx: the master ended with status $status");
    }
    delete $self->{pid};
    return $self;
}

sub stop      { return $_[0]->end('QUIT') }
sub terminate { return $_[0]->end('TERM') }

sub kill {
    my ($self) = @_;

    end_session($self->{session}) if $self->{pid};
    delete $self->{pid};
    return $self;
}

sub restart {
    my ($self, %options) = @_;

    $self->stop;
    return $self->start(%options);
}

# ---- logs --------------------------------------------------------------------

sub wait_log {
    my ($self, $pattern, $timeout) = @_;

    wait_for { $self->error_log =~ $pattern } $timeout
        or croak "not in the error log: $pattern\n" . $self->error_log;
    return $self;
}

my $bad = qr/\[(?:alert|crit|emerg)\]|Sanitizer|runtime\ error:/x;

# nginx before 1.20.2 with OpenSSL 3, where a client just closes.
my $harmless = qr/SSL_read\(\) failed .*unexpected eof while reading/;

sub complaints {
    my ($self) = @_;
    my @lines = grep {/$bad/} split /\n/,
        $self->error_log . slurp("$self->{dir}/output.log");

    # With -q, all that valgrind writes is an error.
    push @lines, map { split /\n/, slurp($_) } glob "$self->{dir}/valgrind.*";
    return map {"nginx: $_"} grep {
        my $line = $_;
        !grep { $line =~ $_ } $harmless, $taken, @{ $self->{expected} }
    } @lines;
}

1;
