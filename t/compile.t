# core/ compiles on its own and knows no nginx; the module and voc-journal
# build without a warning with gcc and clang.

use strict;
use warnings;

use File::Glob qw(:bsd_glob);
use File::Temp qw(tempdir);
use Test::More;
use VocTest qw(build_dir root slurp);

my $root = root();
my $core = "$root/ngx_http_voc_webhook_module/core";
my @files = glob "$core/*.[ch]";

for my $file (@files) {
    my ($name) = $file =~ m{([^/]+)$};
    unlike slurp($file), qr/\bngx_|\bNGX_/, "$name has no name of nginx";
}

for my $cc (qw(gcc clang)) {
    my $scratch = tempdir(CLEANUP => 1);

    for my $file (grep {/\.c$/} @files) {
        my ($name) = $file =~ m{([^/]+)$};
        my $output = `$cc -std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror \\
            -c -o '$scratch/out.o' '$file' 2>&1`;
        ok $? == 0, "$name, $cc" or diag($output);
    }

    # A header that needs another one includes it.
    for my $file (grep {/\.h$/} @files) {
        my ($name) = $file =~ m{([^/]+)$};
        my $output = `$cc -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror \\
            -fsyntax-only -include '$file' -x c /dev/null 2>&1`;
        ok $? == 0, "$name on its own, $cc" or diag($output);
    }

    my $build = build_dir() . "/$cc";
    local $ENV{CC}         = $cc;
    local $ENV{VOC_BUILD}  = $build;
    local $ENV{VOC_CFLAGS} = '-Wall -Wextra -Werror';
    my $output = `'$root/build.sh' build 2>&1`;
    ok $? == 0, "the module and voc-journal, $cc" or diag($output);
    unlike $output, qr/warning:/, 'no warning';
    ok -s "$build/$_", $_
        for qw(ngx_http_voc_webhook_module.so voc-journal);
}

done_testing;
