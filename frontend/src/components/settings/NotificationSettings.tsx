import { Switch } from "@mantine/core";
import { useState } from "react";
import { areWanted, permission, turnOff, turnOn } from "../../lib/browserNotifications";
import { Section } from "../common/Section";

const WHY_NOT = {
  denied: "This browser blocks notifications of this page. Allow them in its site settings first.",
  unsupported: "This browser gives notifications to pages over HTTPS or of this machine only.",
};

/** Whether the browser tells of endings; kept in this browser. */
export function NotificationSettings() {
  const [on, setOn] = useState(areWanted);
  const [allowed, setAllowed] = useState(permission);
  const blocked = allowed === "denied" || allowed === "unsupported";
  async function change(wanted: boolean) {
    if (!wanted) {
      turnOff();
      setOn(false);
      return;
    }
    const answer = await turnOn();
    setAllowed(answer);
    setOn(answer === "granted");
  }
  return (
    <Section label="Notifications" id="notifications">
      <Switch
        label="Notify me when work ends"
        description={
          blocked
            ? WHY_NOT[allowed]
            : "In this browser, while this page is in the background: downloads, quantizations, loads and training runs."
        }
        checked={on && !blocked}
        disabled={blocked}
        onChange={(event) => void change(event.currentTarget.checked)}
      />
    </Section>
  );
}
