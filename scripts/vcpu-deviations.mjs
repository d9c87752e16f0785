// Writes docs/vcpu-deviations.md from the table that the tests use; with --check only says whether it is up to date.
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { register } from 'tsx/esm/api';

register();
const { deviations } = await import('../test/cpu/privileged/deviations.ts');
const target = join(import.meta.dirname, '../docs/vcpu-deviations.md');
const rows = deviations.map(
  (one) => `| ${one.cases} | ${one.right === 'both' ? 'both' : one.right === 'ours' ? 'Xenolith' : 'QEMU'} | ${one.why} |`,
);
const text = `# Where the vCPU and QEMU disagree

The test images \`test/cpu/privileged/image/long.c\` (long mode) and \`legacy.c\` (32-bit protected mode) run on the vCPU and under \`qemu-system-x86_64\` 7.2 (TCG, \`-cpu max,vendor=GenuineIntel\`); the
dumps are compared case by case. These are all the differences, and who is right. "Seen on a processor": a user program on an Intel
processor got the vCPU's answer. Made from \`test/cpu/privileged/deviations.ts\` by \`node scripts/vcpu-deviations.mjs\`.

| case | right | why |
| --- | --- | --- |
${rows.join('\n')}
`;
if (process.argv.includes('--check')) {
  const same = readFileSync(target, 'utf8') === text;
  if (!same) console.error('docs/vcpu-deviations.md is older than its table: run node scripts/vcpu-deviations.mjs');
  process.exit(same ? 0 : 1);
}
writeFileSync(target, text);
