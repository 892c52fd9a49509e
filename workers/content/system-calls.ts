/**
 * Numbers of system calls that Node has no binding for, as perl's `syscall` takes them. perl-base is essential on Debian, so
 * perl is there; a native addon for a handful of calls is not worth its build.
 */
export interface SystemCalls {
  /** renameat2(2), syncfs(2); llistxattr, lgetxattr and lsetxattr, which do not follow links. */
  readonly renameat2: number;
  readonly syncfs: number;
  readonly llistxattr: number;
  readonly lgetxattr: number;
  readonly lsetxattr: number;
}

const GENERIC: SystemCalls = { renameat2: 276, syncfs: 267, llistxattr: 12, lgetxattr: 9, lsetxattr: 6 };

const CALLS: Readonly<Record<string, SystemCalls>> = {
  x64: { renameat2: 316, syncfs: 306, llistxattr: 195, lgetxattr: 192, lsetxattr: 189 },
  arm64: GENERIC,
  riscv64: GENERIC,
  ppc64: { renameat2: 357, syncfs: 348, llistxattr: 216, lgetxattr: 213, lsetxattr: 210 },
  s390x: { renameat2: 347, syncfs: 338, llistxattr: 231, lgetxattr: 228, lsetxattr: 225 },
};

/** Null where the numbers of the calls are not known. */
export const systemCalls = (): SystemCalls | null => CALLS[process.arch] ?? null;

/** Types of file systems in statfs(2); all of them are local. */
export const FILE_SYSTEM = {
  ext4: 0xef53 /* ext2 and ext3 too */,
  xfs: 0x5846_5342,
  tmpfs: 0x0102_1994,
  btrfs: 0x9123_683e,
  zfs: 0x2fc1_2fc1,
  overlay: 0x794c_7630,
} as const;
