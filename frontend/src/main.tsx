import { render } from "preact";
import { App } from "./app";
import { loadDataset } from "./dataset";
import { startRouter } from "./lib/router";
import { startTheme } from "./lib/theme";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/gallery.css";
import "./styles/image.css";
import "./styles/tables.css";

startTheme();
startRouter();
void loadDataset();
render(<App />, document.getElementById("app")!);
