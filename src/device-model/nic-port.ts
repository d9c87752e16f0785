/** A NIC's cable: joins the chip's view of the wire to a port of the hub. */
import type { Clock } from '../base/clock.ts';
import type { NetDevice, Wire } from '../devices/interfaces.ts';
import type { Hub, HubPort, NetPort } from '../net/hub.ts';
import { cost } from './costs.ts';

export class NicPort implements NetPort, Wire {
  readonly name: string;
  readonly port: HubPort;
  readonly #clock: Clock;
  #nic: NetDevice | undefined;

  constructor(name: string, hub: Hub, clock: Clock) {
    this.name = name;
    this.#clock = clock;
    this.port = hub.attach(this);
  }

  /** The chip is built with its wire in hand, so it comes second. */
  plug(nic: NetDevice): void {
    this.#nic = nic;
  }

  setLink(up: boolean): void {
    this.port.setLink(up);
    this.#nic?.setLink(up);
  }

  statistics(): Readonly<Record<string, number>> {
    return this.#nic?.statistics() ?? {};
  }

  receive(frame: Uint8Array): boolean {
    const result = this.#nic?.receive(frame, frame.length) ?? 'dropped';
    if (result !== 'refused') this.#clock.charge(cost.frame);
    return result !== 'refused';
  }

  send(buffer: Uint8Array, length: number): void {
    this.#clock.charge(cost.frame);
    this.port.send(buffer.subarray(0, length));
  }

  receiverReady(): void {
    this.port.roomAgain();
  }
}
