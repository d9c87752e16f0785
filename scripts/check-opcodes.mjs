// No opcode has a meaning outside the definition tables and their emitters (docs/vcpu.md): rows stand in
// src/cpu/tables only, no other code looks at opcode values (but for the decoder's prefixes and escapes), no opcode
// has two rows, and every helper is reached from an emitter.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { register } from 'tsx/esm/api';

const cpu = join(import.meta.dirname, '../src/cpu');
const problems = [];
const files = readdirSync(cpu, { recursive: true })
  .map(String)
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.spec.ts') && !file.startsWith('testing/'));
const inTables = (file) => file.startsWith('tables/');
const decodes = (file) => file === 'decode/decoder.ts' || file === 'decode/code-bytes.ts';
const inEmitters = (file) => file.startsWith('emit/');

// Prefixes, REX, and the escapes 0F, 0F38, 0F3A: how an opcode is found, not what it means. D8-DF: FOP keeps the opcode itself.
const structure = new Set([
  0x26, 0x2e, 0x36, 0x3e, 0x40, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x0f, 0x38, 0x3a, 0xd8, 0xf8, 0x7ff, 7, 0xff,
]);
for (const file of files) {
  const lines = readFileSync(join(cpu, file), 'utf8').split('\n');
  lines.forEach((line, i) => {
    const code = line.replace(/\/\/.*$/, '').replace(/'[^']*'/g, "''");
    const where = `src/cpu/${file}:${i + 1}`;
    if (/\brow\(/.test(code) && !inTables(file) && !/function row\(/.test(code))
      problems.push(`${where}: an instruction row outside src/cpu/tables`);
    if (inTables(file) || inEmitters(file) || file.startsWith('wasm/')) return;
    const values = [];
    for (const match of code.matchAll(/\b(?:opcode|opcodes)\b(?:\s*(?:[!=]==?|[<>]=?|&|\^|-)\s*)(0x[0-9a-f]+|\d+)/gi))
      values.push(Number(match[1]));
    if (decodes(file))
      for (const match of code.matchAll(/\bbyte\s*(?:[!=]==?|&)\s*(0x[0-9a-f]+)/gi)) values.push(Number(match[1]));
    for (const match of code.matchAll(/\bcase (0x[0-9a-f]{2})\b/gi)) if (decodes(file)) values.push(Number(match[1]));
    for (const value of values)
      if (!structure.has(value))
        problems.push(`${where}: looks at opcode value 0x${value.toString(16)}; its meaning belongs in a row of src/cpu/tables`);
  });
}

register();
const { InstructionMap } = await import('../src/cpu/decode/instruction-map.ts');
const { HELPER_NAMES } = await import('../src/cpu/emit/helpers.ts');
const map = new InstructionMap();
const claims = new Map();
for (const { instruction, encoding } of map.all) {
  if (typeof instruction.emit !== 'function') problems.push(`row ${instruction.opcode} ${instruction.name}: no emitter`);
  const { prefix, digit, modrm, mod } = encoding;
  for (let i = 0; i < (encoding.plusRegister ? 8 : 1); i++) {
    for (const mode of instruction.only ? [instruction.only] : ['long', 'legacy']) {
      for (const where of mod === 'any' ? ['mem', 'reg'] : [mod]) {
        const key = [
          mode,
          encoding.map,
          encoding.opcode + i,
          prefix,
          digit,
          modrm,
          where,
          instruction.noRexB ? 'noRexB' : '',
        ].join();
        const other = claims.get(key);
        if (other) problems.push(`opcode '${instruction.opcode}' has two rows: ${other} and ${instruction.name}`);
        claims.set(key, instruction.name);
      }
    }
  }
}
const sources = files
  .filter((file) => inTables(file) || inEmitters(file) || file === 'interpreter/special-handlers.ts')
  .map((file) => readFileSync(join(cpu, file), 'utf8'))
  .join('\n');
for (const name of HELPER_NAMES)
  if (!new RegExp(`'${name}'`).test(sources)) problems.push(`helper '${name}' is not reached from any emitter or row`);

for (const problem of problems) console.error(problem);
console.log(
  `opcodes: ${map.all.length} rows, ${claims.size} encodings, ${HELPER_NAMES.length} helpers, ${problems.length} problems`,
);
process.exit(problems.length ? 1 : 0);
