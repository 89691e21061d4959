import type { SocketHandlers, Transport } from "../api/socket";
import type { ModelEvent, ServerEvent } from "../types/events";
import type { Model } from "../types/model";

/** A feed that a test speaks into; stamps events in order unless told otherwise. */
export class FakeSocket implements Transport {
  epoch = "e1";
  seq = 0;
  retries = 0;
  private handlers: SocketHandlers | null = null;

  connect = (handlers: SocketHandlers) => {
    this.handlers = handlers;
  };

  retry = () => {
    this.retries += 1;
  };

  close = () => {
    this.handlers = null;
  };

  send(event: ServerEvent): void {
    this.handlers?.onEvent(event);
  }

  snapshot(models: Model[] = []): void {
    this.send({ type: "snapshot", epoch: this.epoch, seq: this.seq, models, counts: {}, trainings: [] });
  }

  model(type: ModelEvent["type"], model: Model): void {
    this.seq += 1;
    this.send({ type, epoch: this.epoch, seq: this.seq, model });
  }

  deleted(id: string): void {
    this.seq += 1;
    this.send({ type: "model.deleted", epoch: this.epoch, seq: this.seq, id });
  }

  drop(): void {
    this.handlers?.onClose();
  }
}
