import { options, render } from "preact";
import { App } from "./app";
import { loadDataset } from "./dataset";
import { startRouter } from "./lib/router";
import { startTheme } from "./lib/theme";
import { linkTo } from "./published/place";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/gallery.css";
import "./styles/image.css";
import "./styles/tables.css";

// Links of all parts are written as the server has them.
const before = options.vnode;
options.vnode = (node) => {
  const props = node.props as { href?: unknown };
  if (node.type === "a" && typeof props.href === "string" && props.href.startsWith("/")) props.href = linkTo(props.href);
  before?.(node);
};

startTheme();
startRouter();
void loadDataset();
render(<App />, document.getElementById("app")!);
