import { Component, type ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { About } from "./about";
import { dataset, datasetError, loadDataset } from "./dataset";
import { Gallery } from "./gallery/Gallery";
import { ComparePage } from "./image/ComparePage";
import { ImagePage } from "./image/ImagePage";
import { backToGallery, path, route, shownName } from "./lib/router";
import { theme, toggleTheme } from "./lib/theme";
import { Busy } from "./parts/Busy";
import { ErrorBox } from "./parts/ErrorBox";
import { Help, helpOpen } from "./parts/Help";
import { Icon } from "./parts/icons";
import { useKeys } from "./parts/keys";
import { iconUrl } from "./published/place";
import { SheetPage } from "./sheet/SheetPage";
import { TablesPage } from "./tables/TablesPage";

function Header() {
  const page = route.value.page;
  const info = dataset.value;
  const tab = (href: string, name: string, on: boolean, click?: (event: Event) => void) => (
    <a href={href} class={on ? "tab on" : "tab"} aria-current={on ? "page" : undefined} onClick={click}>
      {name}
    </a>
  );
  return (
    <header class="top">
      <a class="brand" href="/" title={info?.name} data-testid="dataset-name">
        <img src={iconUrl} alt="" width="22" height="22" />
        <span>{info?.name ?? "…"}</span>
      </a>
      <nav aria-label="Pages">
        {tab("/", "Gallery", page === "gallery" || page === "image", (event) => {
          event.preventDefault();
          backToGallery();
        })}
        {!info?.blind && tab("/tables", "Tables", page === "tables")}
        {tab("/about", "About", page === "about")}
      </nav>
      <span class="spacer" />
      {info?.blind && <span class="mode" data-testid="blind" title={`Hidden: ${info.blind.join(", ")}, names, paths, dates and what others have said.`}>blind</span>}
      {info && (
        <span class={info.editable ? "mode editing" : "mode"} data-testid="mode"
          title={info.editable ? "What you change is written to the dataset." : "Nothing is written. Start with --edit to judge images."}>
          {info.editable ? `editing as ${info.who ?? "?"}` : "read only"}
        </span>
      )}
      <button type="button" class="icon-button" data-testid="theme-toggle" onClick={toggleTheme}
        aria-label={theme.value === "dark" ? "Light colours" : "Dark colours"} title="Light or dark (t)">
        <Icon name={theme.value === "dark" ? "sun" : "moon"} />
      </button>
      <button type="button" class="icon-button" data-testid="help-button" aria-label="Keys" title="Keys (?)" onClick={() => (helpOpen.value = true)}>
        <Icon name="help" />
      </button>
    </header>
  );
}

/** Whatever goes wrong while a page is drawn is told, and the rest of the page stays. */
class Guard extends Component<{ children: ComponentChildren; at: string }, { error: unknown; at: string }> {
  override state = { error: null as unknown, at: "" };
  override componentDidCatch(error: unknown) {
    this.setState({ error, at: this.props.at });
  }
  render() {
    return this.state.error && this.state.at === this.props.at ? (
      <main class="page"><ErrorBox error={this.state.error} retry={() => this.setState({ error: null })} /></main>
    ) : (
      this.props.children
    );
  }
}

function Page() {
  const where = route.value;
  if (datasetError.value) {
    return <main class="page"><ErrorBox error={datasetError.value} retry={() => void loadDataset()} /></main>;
  }
  const info = dataset.value;
  if (!info) return <main class="page loading" aria-busy="true">Loading…</main>;
  switch (where.page) {
    case "gallery":
      return <Gallery info={info} />;
    case "image":
      return <ImagePage key={where.id} id={where.id} info={info} />;
    case "tables":
      return <TablesPage name={where.name} info={info} />;
    case "compare":
      return <ComparePage />;
    case "sheet":
      return <SheetPage info={info} />;
    case "about":
      return <About info={info} />;
    default:
      return <main class="page"><h1>There is no such page</h1><p><a href="/">To the gallery</a></p></main>;
  }
}

export function App() {
  useKeys((event) => {
    if (event.key === "?") helpOpen.value = true;
    else if (event.key === "t") toggleTheme();
    else if (event.key === "g") backToGallery();
    else return false;
    return true;
  });
  useEffect(() => {
    const name = dataset.value?.name;
    const where = route.value;
    const what = where.page === "image" ? (shownName.value ?? where.id) : where.page === "tables" && where.name ? where.name : "";
    document.title = [what, name, "kymflow_zarr"].filter(Boolean).join(" · ");
  }, [path.value, dataset.value, shownName.value]);
  return (
    <>
      <a class="skip" href="#main">To the content</a>
      <Busy />
      <Header />
      <Guard at={path.value}>
        <Page />
      </Guard>
      <Help />
    </>
  );
}
