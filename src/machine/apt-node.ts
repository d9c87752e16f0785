/**
 * Debian packages through the machine's own apt: its configuration says where from, nothing here does. No root:
 * downloads go to a directory of ours, and where the system's package lists are missing or stale, lists and state do too.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../base/errors.ts';

/** One package as apt's lists describe it. */
export interface AptPackage {
  name: string;
  version: string;
  /** Bytes of the .deb. */
  size: number;
  sha256: string;
  depends: string[];
}

/** Called while something goes on: what, and how far (0..1). */
export type Progress = (what: string, fraction: number) => void;

export class Apt {
  private readonly directory: string;
  private readonly progress: Progress;
  private readonly options: string[];

  /** `directory` holds the packages and, if need be, private apt state. */
  constructor(directory: string, progress: Progress) {
    this.directory = directory;
    this.progress = progress;
    for (const sub of ['cache/archives/partial', 'debs']) mkdirSync(join(directory, sub), { recursive: true });
    this.options = ['APT::Architecture=amd64', 'APT::Sandbox::User=root', `Dir::Cache=${join(directory, 'cache')}`];
  }

  /** Look a package up; undefined when no list names it. Asks the system's lists first, then private ones. */
  async find(name: string): Promise<AptPackage | undefined> {
    return (await this.show(name)) ?? ((await this.usePrivateLists()) ? this.show(name) : undefined);
  }

  /** Path of the package's .deb, downloaded unless a copy with the right checksum is here already. */
  async download(wanted: AptPackage): Promise<string> {
    const path = join(this.directory, 'debs', `${wanted.name}_${wanted.version.replace(/^\d+:/, '')}_amd64.deb`);
    if (existsSync(path) && (await sha256(path)) === wanted.sha256) return path;
    const work = join(this.directory, `download-${process.pid}`);
    mkdirSync(work, { recursive: true });
    try {
      let result = await this.get(wanted, work);
      if (result.status !== 0 && (await this.usePrivateLists())) result = await this.get(wanted, work);
      const file = readdirSync(work).find((f) => f.endsWith('.deb'));
      if (result.status !== 0 || file === undefined)
        throw new UserError(`apt-get could not download ${wanted.name} ${wanted.version}: ${firstError(result.stderr)}`);
      const got = await sha256(join(work, file));
      if (got !== wanted.sha256)
        throw new UserError(
          `${wanted.name} ${wanted.version}: SHA-256 of the download is ${got}, the package list says ${wanted.sha256}`,
        );
      renameSync(join(work, file), path);
      return path;
    } finally {
      rmSync(work, { recursive: true, force: true });
    }
  }

  private async show(name: string): Promise<AptPackage | undefined> {
    const { status, stdout } = await run('apt-cache', [...this.flags(), 'show', '--no-all-versions', name]);
    if (status !== 0 || stdout === '') return undefined;
    const field = (key: string): string => new RegExp(`^${key}: (.*)$`, 'm').exec(stdout)?.[1] ?? '';
    const sha = field('SHA256');
    if (!/^[0-9a-f]{64}$/.test(sha)) return undefined;
    return {
      name,
      version: field('Version'),
      size: Number(field('Size')),
      sha256: sha,
      depends: field('Depends')
        .split(',')
        .map((d) => d.trim().split(/[ (|]/)[0]!)
        .filter((d) => d !== ''),
    };
  }

  private get(wanted: AptPackage, cwd: string): Promise<Result> {
    return run(
      'apt-get',
      [...this.flags(), '-o', 'APT::Status-Fd=3', 'download', `${wanted.name}=${wanted.version}`],
      cwd,
      (line) => {
        const percent = /^dlstatus:[^:]*:([0-9.]+):/.exec(line)?.[1];
        if (percent !== undefined) this.progress(`download ${wanted.name}`, Number(percent) / 100);
      },
    );
  }

  /** Switch to package lists of our own, freshly fetched; false when they are in use already or cannot be had. */
  private async usePrivateLists(): Promise<boolean> {
    if (this.options.some((o) => o.startsWith('Dir::State='))) return false;
    const state = join(this.directory, 'state');
    mkdirSync(join(state, 'lists/partial'), { recursive: true });
    writeFileSync(join(state, 'status'), '');
    this.options.push(`Dir::State=${state}`, `Dir::State::status=${join(state, 'status')}`, 'Acquire::Languages=none');
    this.progress('package lists', 0);
    const { status } = await run('apt-get', [...this.flags(), '-q', 'update']);
    this.progress('package lists', 1);
    return status === 0;
  }

  private flags(): string[] {
    return this.options.flatMap((option) => ['-o', option]);
  }
}

interface Result {
  status: number;
  stdout: string;
  stderr: string;
}

/** Run a command with plain messages; gives its output, or status 127 when there is no such command. */
function run(command: string, args: string[], cwd?: string, onStatus?: (line: string) => void): Promise<Result> {
  return new Promise((done) => {
    const child = spawn(command, args, {
      cwd,
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
      env: { ...process.env, LC_ALL: 'C', DEBIAN_FRONTEND: 'noninteractive' },
    });
    let stdout = '';
    let stderr = '';
    let pending = '';
    child.stdout!.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.stdio[3]!.on('data', (chunk: Buffer) => {
      const lines = (pending + chunk.toString('utf8')).split('\n');
      pending = lines.pop()!;
      for (const line of lines) onStatus?.(line);
    });
    child.on('error', (error) => done({ status: 127, stdout, stderr: error.message }));
    child.on('close', (code) => done({ status: code ?? 1, stdout, stderr }));
  });
}

/** The line that says why: apt names hosts and paths in most others. */
const firstError = (stderr: string): string =>
  stderr
    .split('\n')
    .find((line) => line.startsWith('E:'))
    ?.slice(3) ??
  stderr.trim().split('\n').at(-1) ??
  'no reason given';

/** SHA-256 of a file as hex. */
async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
