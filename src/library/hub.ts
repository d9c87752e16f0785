/** A wire between machines and whatever else the embedder attaches, on the embedder's thread. */
import { Dom0Endpoint } from '../net/dom0-endpoint.ts';
import { parseIpv4, parseMac } from '../net/frame.ts';

/** A party's end of its cable. */
export interface HubCable {
  /** Send a frame, destination address first, without FCS; everybody else on the hub gets it. */
  send(frame: Uint8Array): void;
  /** Leave the hub. */
  detach(): void;
}

export class Hub {
  private readonly parties = new Set<(frame: Uint8Array) => void>();

  /** Attach a party: it gets every frame that another one sends. The array is not to be changed. */
  attach(receive: (frame: Uint8Array) => void): HubCable {
    const { parties } = this;
    parties.add(receive);
    return {
      send(frame) {
        for (const party of parties) if (party !== receive) party(frame);
      },
      detach: () => void parties.delete(receive),
    };
  }

  /**
   * Attach a host that answers ARP and ping and serves DHCP: what dom0 is to a machine without a hub.
   * @param options dotted decimal address (default 10.0.2.2) and MAC (default fe:ff:ff:ff:ff:ff)
   */
  attachHost(options: { readonly ip?: string; readonly mac?: string } = {}): void {
    let cable: HubCable | undefined;
    new Dom0Endpoint(
      {
        attach: (party) => {
          cable = this.attach((frame) => void party.receive(frame));
          return cable;
        },
      },
      {
        ...(options.ip === undefined ? {} : { ip: parseIpv4(options.ip) }),
        ...(options.mac === undefined ? {} : { mac: parseMac(options.mac) }),
      },
    );
  }
}
