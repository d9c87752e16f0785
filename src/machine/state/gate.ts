/**
 * The device model's hypercalls with a gate before them: while a machine is restored, what devices say of their lines and ranges is
 * answered as it was before, and changes nothing. Machine memory holds it all already.
 */
import type { DeviceModelHypercalls } from '../../abi/dm-op.ts';
import type { IoreqServerState } from '../../device-model/ioreq-server.ts';

export class HypercallGate {
  /** What the device model is given. */
  readonly calls: DeviceModelHypercalls;
  private readonly real: DeviceModelHypercalls;

  constructor(real: DeviceModelHypercalls) {
    this.real = real;
    this.calls = { ...real };
  }

  /** Answer as the hypervisor answered the device model whose ioreq server is in this state. */
  close(server: IoreqServerState): void {
    const ports = [...server.ports];
    const nothing = (): number => 0;
    const closed: Partial<DeviceModelHypercalls> = {
      createIoreqServer: () => server.id,
      getIoreqServerInfo: (id) => ({ ...this.real.getIoreqServerInfo(id), bufioreqPort: server.bufferedPort }),
      mapIoRange: nothing,
      unmapIoRange: nothing,
      setIoreqServerState: nothing,
      setPciIntxLevel: nothing,
      setIsaIrqLevel: nothing,
      setPciLinkRoute: nothing,
      modifiedMemory: nothing,
      remoteShutdown: nothing,
      foreignUnmap: nothing,
      bindInterdomain: () => ports.shift() ?? 0,
      evtchnSend: nothing,
      evtchnUnmask: nothing,
    };
    Object.assign(this.calls, closed);
  }

  open(): void {
    Object.assign(this.calls, this.real);
  }
}
