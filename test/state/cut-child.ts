/** One saved machine in a process of its own: takes FILE, runs to instruction M, and prints state hash and digests of what it put out. */
import { prepareHash, stateHash } from '../../src/machine/state/hash.ts';
import { loadSnapshotFile } from '../../src/machine/state/snapshot-file-node.ts';
import { digests, resume } from './machines.ts';

const [file = '', instructions = ''] = process.argv.slice(2);
await prepareHash();
const { machine, output } = resume((await loadSnapshotFile(file)).state);
machine.runTo({ instructions: Number(instructions) });
console.log(JSON.stringify({ hash: stateHash(machine), output: digests(output.files()) }));
