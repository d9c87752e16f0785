/** The state of a whole machine as plain data: what it is made of, where it stands, its parts and its memory. */
import type { NicOptions } from '../../device-model/nics.ts';
import type { DmLogForm } from '../../device-model/log.ts';
import type { TestDeviceOptions } from '../../devices/test-devices.ts';
import type { Saved } from '../../base/snapshot.ts';
import type { BareDomain, MachineOptions } from '../guest-side.ts';
import type { MemoryImage } from './image.ts';

/** What a machine is made of, as far as a state can be restored into none but its like. */
export interface MachineConfig {
  readonly name: string;
  readonly domain: BareDomain;
  readonly nics: readonly NicOptions[];
  readonly clock: 'virtual';
  readonly epochUs: number;
  readonly seed: number;
  /** xentrace event mask; 0: no trace. */
  readonly traceMask: number;
  /** Form of the device model's log; null: no log. */
  readonly logForm: DmLogForm | null;
  readonly wireLatencyNs: number;
  readonly testDevices: TestDeviceOptions | null;
  readonly fep: boolean;
  /** The wire's other end is a socket, in place of the dom0 endpoint. */
  readonly socket: boolean;
}

/** Where a machine stands. */
export interface Position {
  /** Instructions retired, VM exits, nanoseconds of the clock. */
  readonly instructions: number;
  readonly exits: number;
  readonly ns: number;
}

export interface MachineState {
  readonly config: MachineConfig;
  readonly position: Position;
  readonly parts: Readonly<Record<string, Saved>>;
  readonly image: MemoryImage;
}

/** What options of a machine and a job of one have in common. */
type CommonOptions = Pick<
  MachineOptions,
  'name' | 'nics' | 'clock' | 'epochUs' | 'traceMask' | 'wireLatencyNs' | 'fep' | 'logForm' | 'testDevices'
> & { readonly seed: number; readonly domain: BareDomain };

/** The options of a machine that takes a state of this config; the engine is the caller's. */
export const optionsOf = (
  config: MachineConfig,
): CommonOptions & Pick<MachineOptions, 'input' | 'socketOut' | 'exactBudgets'> => ({
  ...commonOptions(config),
  exactBudgets: true,
  ...(config.socket ? { input: [], socketOut: null } : {}),
});

/** The same as far as a job has it. */
export const commonOptions = (config: MachineConfig): CommonOptions => ({
  name: config.name,
  domain: config.domain,
  nics: config.nics,
  clock: config.clock,
  epochUs: config.epochUs,
  seed: config.seed,
  traceMask: config.traceMask,
  wireLatencyNs: config.wireLatencyNs,
  fep: config.fep,
  ...(config.logForm === null ? {} : { logForm: config.logForm }),
  ...(config.testDevices === null ? {} : { testDevices: config.testDevices }),
});
