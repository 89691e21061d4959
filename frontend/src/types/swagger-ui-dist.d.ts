declare module "swagger-ui-dist/swagger-ui-es-bundle.js" {
  type Component = (props: Record<string, unknown>) => unknown;
  interface System {
    React: { createElement: (type: string | Component, props: object | null, ...children: unknown[]) => unknown };
  }
  interface Plugin {
    wrapComponents: Record<string, (original: Component, system: System) => Component>;
  }
  interface Options {
    url: string;
    requestInterceptor?: (request: { url: string }) => { url: string };
    dom_id: string;
    deepLinking?: boolean;
    docExpansion?: "list" | "full" | "none";
    defaultModelsExpandDepth?: number;
    tryItOutEnabled?: boolean;
    plugins?: (() => Plugin)[];
    validatorUrl?: string | null;
  }
  export type { Plugin };
  export default function SwaggerUIBundle(options: Options): unknown;
}
