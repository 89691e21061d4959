import { Navigate, Route, Routes } from "react-router";
import { AppLayout } from "./components/layout/AppLayout";
import { ModelsPanel } from "./components/panels/ModelsPanel";
import { NotFound } from "./components/panels/NotFound";
import { lazyWithRetry } from "./hooks/lazyWithRetry";

const ModelPanel = lazyWithRetry(() => import("./components/panels/ModelPanel"));
const TrainingPanel = lazyWithRetry(() => import("./components/panels/TrainingPanel"));
const ComparePanel = lazyWithRetry(() => import("./components/panels/ComparePanel"));
const NewTraining = lazyWithRetry(() => import("./components/training/NewTraining"));
const TrainingRun = lazyWithRetry(() => import("./components/training/TrainingRun"));
const SaeView = lazyWithRetry(() => import("./components/training/SaeView"));
const SettingsPanel = lazyWithRetry(() => import("./components/panels/SettingsPanel"));

export function AppRoutes() {
  return (
    <Routes>
      <Route element={<AppLayout />}>
        <Route index element={<Navigate to="/models" replace />} />
        <Route path="models" element={<ModelsPanel />} />
        <Route path="models/:id" element={<ModelPanel />} />
        <Route path="compare" element={<ComparePanel />} />
        <Route path="training" element={<TrainingPanel />} />
        <Route path="training/new" element={<NewTraining />} />
        <Route path="training/saes/:id" element={<SaeView />} />
        <Route path="training/:id" element={<TrainingRun />} />
        <Route path="settings" element={<SettingsPanel />} />
        <Route path="*" element={<NotFound />} />
      </Route>
    </Routes>
  );
}
