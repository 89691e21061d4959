import {
  ActionIcon,
  AppShell,
  Burger,
  Group,
  NavLink,
  Skeleton,
  Stack,
  Text,
  Title,
  VisuallyHidden,
} from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { Boxes, BrainCircuit, Columns2, Moon, Search, Settings2, Sun } from "lucide-react";
import { Suspense, useEffect, useLayoutEffect } from "react";
import { NavigationType, NavLink as RouterLink, Outlet, useHref, useLocation, useNavigationType } from "react-router";
import { useColorScheme } from "../../hooks/useColorScheme";
import { useLiveFeed } from "../../hooks/useLiveFeed";
import { useConn, useModelCount } from "../../hooks/useModels";
import { MOD_KEY } from "../../lib/keys";
import { usePaletteStore } from "../../stores/paletteStore";
import { Announcer } from "./Announcer";
import classes from "./AppLayout.module.css";
import { Brand } from "./Brand";
import { ConnectionBadge } from "./ConnectionBadge";
import { ConnectionNotice } from "../common/ConnectionNotice";
import { DownloadsTray } from "../models/tray/DownloadsTray";
import { Endings } from "./Endings";
import { Keys } from "./Keys";
import { PartBoundary } from "./PartBoundary";
import { SystemStrip } from "./SystemStrip";

const PAGES = [
  { to: "/models", label: "Models", icon: Boxes },
  { to: "/compare", label: "Compare", icon: Columns2 },
  { to: "/training", label: "Training", icon: BrainCircuit },
  { to: "/settings", label: "Settings", icon: Settings2 },
] as const;

export function AppLayout() {
  const [menuOpen, menu] = useDisclosure(false);
  const { pathname, search } = useLocation();
  // A bare "#main" would lead to the document's base, which is another page.
  const main = useHref({ pathname, search, hash: "#main" });
  const { close } = menu;
  useLiveFeed();
  useEffect(close, [pathname, close]);
  useStartAtTop(pathname);

  return (
    <AppShell
      header={{ height: 56 }}
      navbar={{ width: 208, breakpoint: "sm", collapsed: { mobile: !menuOpen } }}
      transitionDuration={120}
    >
      <a href={main} className={classes.skip}>
        Skip to content
      </a>
      <AppShell.Header className={classes.header}>
        <Group h="100%" px="md" gap="sm" wrap="nowrap">
          <Burger
            opened={menuOpen}
            onClick={menu.toggle}
            hiddenFrom="sm"
            size="sm"
            aria-label={menuOpen ? "Close the menu" : "Open the menu"}
          />
          <Brand />
          <Group ml="auto" gap="xs" wrap="nowrap">
            <PaletteButton />
            <DownloadsTray />
            <ConnectionBadge />
            <ThemeToggle />
          </Group>
        </Group>
      </AppShell.Header>

      <AppShell.Navbar className={classes.navbar} aria-label="Main">
        <Stack gap={4} p="xs">
          {PAGES.map(({ to, label, icon: Icon }) => (
            <NavLink
              key={to}
              component={RouterLink}
              to={to}
              label={label}
              active={pathname.startsWith(to)}
              leftSection={<Icon size={18} aria-hidden />}
              rightSection={to === "/models" ? <ModelCount /> : undefined}
              className={classes.link}
            />
          ))}
        </Stack>
        <SystemStrip />
      </AppShell.Navbar>

      <AppShell.Main id="main" className={classes.main}>
        <ConnectionNotice />
        <Suspense fallback={<PanelFallback at={pathname} />}>
          <PartBoundary at={pathname}>
            <Outlet />
          </PartBoundary>
        </Suspense>
      </AppShell.Main>
      <Announcer />
      <Endings />
      <Keys />
    </AppShell>
  );
}

/** A page that a link leads to begins at its top; the way back is the browser's, which knows where one was. */
function useStartAtTop(pathname: string): void {
  const type = useNavigationType();
  useLayoutEffect(() => {
    if (type !== NavigationType.Pop) document.documentElement.scrollTop = 0;
    // eslint-disable-next-line react-hooks/exhaustive-deps -- only another page counts, not another view of it
  }, [pathname]);
}

/** In the place of a page that is still being fetched. */
function PanelFallback({ at }: { at: string }) {
  const isAway = useConn() === "stale";
  const page = PAGES.find(({ to }) => to === at);
  return (
    <>
      {page === undefined ? (
        <VisuallyHidden component="h1">Loading</VisuallyHidden>
      ) : (
        <Title order={1} mb="md">
          {page.label}
        </Title>
      )}
      {isAway ? (
        <Text c="dimmed" role="status">
          This page appears once the server answers.
        </Text>
      ) : (
        <Skeleton className={classes.awaited} role="status" aria-label="Loading" />
      )}
    </>
  );
}

function ModelCount() {
  const count = useModelCount();
  return count === null ? null : (
    <Text span size="xs" c="dimmed" className="num">
      {count}
    </Text>
  );
}

function PaletteButton() {
  const open = usePaletteStore((state) => state.open);
  return (
    <ActionIcon onClick={open} aria-label="Go to…" aria-keyshortcuts="Control+K Meta+K" title={`Go to… (${MOD_KEY} K)`}>
      <Search size={18} aria-hidden />
    </ActionIcon>
  );
}

function ThemeToggle() {
  const { scheme, toggle } = useColorScheme();
  return (
    <ActionIcon onClick={toggle} aria-label={scheme === "dark" ? "Use light colours" : "Use dark colours"}>
      {scheme === "dark" ? <Sun size={18} aria-hidden /> : <Moon size={18} aria-hidden />}
    </ActionIcon>
  );
}
