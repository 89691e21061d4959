import { Skeleton } from "@mantine/core";
import classes from "./LoadingList.module.css";

export function LoadingList() {
  return (
    <div role="status" aria-label="Loading models">
      <Skeleton className={classes.filtersToCome} />
      <div className={classes.skeletons}>
        {[0, 1, 2, 3, 4, 5].map((index) => (
          <Skeleton key={index} h={208} />
        ))}
      </div>
    </div>
  );
}
