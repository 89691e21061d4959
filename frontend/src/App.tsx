import { MantineProvider } from "@mantine/core";
import { Notifications } from "@mantine/notifications";
import { SignIn } from "./components/layout/SignIn";
import { AppRoutes } from "./routes";
import { useSessionStore } from "./stores/sessionStore";
import { cssVariables, theme } from "./theme";

export function App({ env = "default" }: { env?: "default" | "test" }) {
  const needsKey = useSessionStore((state) => state.needsKey);
  return (
    <MantineProvider theme={theme} cssVariablesResolver={cssVariables} defaultColorScheme="auto" env={env}>
      <Notifications position="bottom-right" limit={4} />
      {needsKey ? <SignIn /> : <AppRoutes />}
    </MantineProvider>
  );
}
