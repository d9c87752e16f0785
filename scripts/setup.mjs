// What `npm start` and `npm test` do first: check Node, install what package-lock.json names, build. Runs with nothing
// installed, on any Node.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';

const major = Number(process.versions.node.split('.')[0]);
if (major < 20) {
  console.error(`xenolith: Node ${process.versions.node} is too old; install Node 20 or later`);
  process.exit(1);
}

const run = (command, args) => {
  const { status } = spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'], shell: process.platform === 'win32' });
  if (status !== 0) process.exit(status ?? 1);
};

const stamp = 'node_modules/.xenolith-lock';
const lock = createHash('sha256').update(readFileSync('package-lock.json')).digest('hex');
if (!existsSync(stamp) || readFileSync(stamp, 'utf8') !== lock) {
  console.error('xenolith: installs the packages that package-lock.json names, into node_modules');
  run('npm', ['ci', '--no-audit', '--no-fund', '--loglevel=error']);
  mkdirSync('node_modules', { recursive: true });
  writeFileSync(stamp, lock);
}
if (process.argv.includes('--build')) {
  console.error('xenolith: compiles src into dist');
  run('npm', ['run', '--silent', 'build']);
}
