import type { SocketHandlers, Transport } from "../api/socket";
import type { BatchEvent, ModelEvent, ServerEvent } from "../types/events";
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

  /** Everything since the last message, as one. */
  batch(changes: Partial<Pick<BatchEvent, "models" | "trainings" | "deleted">>, count = 1): void {
    const from_seq = this.seq + 1;
    this.seq += count;
    const { epoch, seq } = this;
    this.send({ type: "batch", epoch, from_seq, seq, models: [], trainings: [], deleted: [], ...changes });
  }

  drop(): void {
    this.handlers?.onClose();
  }
}
