"""Where things stand in the official training games: how many of a class, and in which class of receptacle.

Counted over the 3,553 games of the official `train` split (MIT licence, (c) 2020 Shridhar et al.), so that generated
games are furnished like them. The validation splits were not looked at.
"""

_TABLE = """
AlarmClock 1 50 32 18: DiningTable 97 Desk 83 CounterTop 71 Dresser 65 Shelf 54 SideTable 50
Apple 1 33 32 34: DiningTable 54 Fridge 49 CounterTop 49 SideTable 34 Microwave 26 GarbageCan 25 SinkBasin 18
Book 0 48 31 20: Bed 95 CounterTop 92 CoffeeTable 61 Desk 51 DiningTable 38 Sofa 30 Dresser 28 Cabinet 24 ArmChair 20 \
Drawer 18 SideTable 13 TVStand 8 Shelf 5
Bowl 0 39 34 27: Desk 95 Cabinet 70 DiningTable 55 TVStand 53 CoffeeTable 49 Dresser 42 CounterTop 41 Fridge 40 \
Shelf 36 SideTable 9 SinkBasin 6 Microwave 5
Box 44 41 12 3: DiningTable 56 CoffeeTable 33 Sofa 29 Cabinet 18 Desk 15 Shelf 12 TVStand 10 SideTable 8 Ottoman 5 \
Dresser 5 ArmChair 4
Bread 0 55 32 12: CounterTop 88 DiningTable 87 Fridge 19 SideTable 10
ButterKnife 2 37 36 25: CounterTop 108 DiningTable 84 SideTable 30 Drawer 16 SinkBasin 10
CD 8 38 29 25: DiningTable 83 Dresser 55 Drawer 53 Desk 51 SideTable 35 Shelf 20 Cabinet 20 ArmChair 15 GarbageCan 14 \
Safe 6
Candle 3 38 32 27: SideTable 100 CoffeeTable 69 CounterTop 66 Toilet 56 Cabinet 56 Shelf 51 DiningTable 49 Drawer 42 \
Cart 39 TVStand 33 Dresser 25
CellPhone 0 34 34 32: CounterTop 73 DiningTable 61 Bed 60 Desk 52 Dresser 46 Drawer 44 Ottoman 41 CoffeeTable 40 \
SideTable 32 TVStand 30 Sofa 28 ArmChair 25 Safe 25 Shelf 24 Cabinet 3
Cloth 19 31 27 22: BathtubBasin 87 Cabinet 81 CounterTop 38 Drawer 38 Cart 33 Shelf 22 SinkBasin 16 Dresser 14 Toilet 6
CreditCard 0 32 33 35: CounterTop 89 Drawer 55 Desk 51 Shelf 48 Dresser 48 DiningTable 46 TVStand 44 Sofa 42 \
SideTable 40 CoffeeTable 38 ArmChair 31 Ottoman 19
Cup 1 37 32 30: DiningTable 51 Cabinet 45 Fridge 41 CounterTop 41 SideTable 33 SinkBasin 18 Shelf 18 Microwave 14
DeskLamp 0 95 5 0: SideTable 70 Desk 45 Dresser 40 CoffeeTable 20 Shelf 14
DishSponge 1 33 34 32: CounterTop 51 Cabinet 47 Drawer 44 DiningTable 44 BathtubBasin 44 Cart 31 Shelf 28 Toilet 16 \
SinkBasin 15 SideTable 14 GarbageCan 11
Egg 1 34 35 30: Fridge 50 CounterTop 47 DiningTable 41 SideTable 28 GarbageCan 25 SinkBasin 25 Microwave 23
Fork 2 35 34 29: CounterTop 84 DiningTable 80 Drawer 43 SideTable 27 SinkBasin 17
Glassbottle 1 35 32 32: Cabinet 60 DiningTable 60 CounterTop 53 Shelf 26 Fridge 18 SinkBasin 18 GarbageCan 14
HandTowel 0 84 16 0: HandTowelHolder 119 CounterTop 5
HousePlant 14 82 4 0: CounterTop 84 Desk 43 DiningTable 35 SideTable 30 Dresser 23 CoffeeTable 20 Shelf 14 TVStand 9 \
Cabinet 5
Kettle 0 45 36 19: StoveBurner 72 CounterTop 44 Cabinet 42 DiningTable 29 SinkBasin 3 Shelf 3
KeyChain 5 37 33 25: Desk 50 Drawer 47 Dresser 45 Safe 44 SideTable 40 Shelf 39 CoffeeTable 39 DiningTable 35 \
TVStand 34 Sofa 19 Ottoman 19 ArmChair 18 Cabinet 6 CounterTop 5
Knife 2 37 34 27: CounterTop 90 DiningTable 83 Drawer 39 SideTable 14 SinkBasin 9
Ladle 1 35 37 26: CounterTop 80 DiningTable 64 Cabinet 48 Drawer 37 SinkBasin 4
Laptop 0 58 32 10: Bed 119 DiningTable 52 CounterTop 52 Desk 43 CoffeeTable 42 Sofa 39 TVStand 20 Dresser 19 \
Ottoman 19 ArmChair 8 SideTable 6
Lettuce 3 41 34 22: DiningTable 89 CounterTop 73 Fridge 41 SideTable 24 SinkBasin 9 GarbageCan 2
Mug 2 38 36 24: Desk 96 CounterTop 61 Dresser 54 DiningTable 44 CoffeeMachine 38 SideTable 34 Cabinet 34 Shelf 31 \
Fridge 30 Microwave 16 SinkBasin 13
Newspaper 0 47 31 22: DiningTable 64 Shelf 53 Dresser 52 CoffeeTable 42 Sofa 38 SideTable 30 Ottoman 25 TVStand 22 \
ArmChair 16 Drawer 5
Pan 0 70 26 4: StoveBurner 92 CounterTop 60 DiningTable 14 Cabinet 12 Fridge 7
PaperTowelRoll 3 97 0 0: CounterTop 55 DiningTable 41 Shelf 30 Toilet 25 SideTable 23 Cart 21 GarbageCan 14
Pen 0 30 35 35: DiningTable 101 Desk 84 CounterTop 77 Dresser 71 CoffeeTable 69 Shelf 48 SideTable 45 Drawer 37 \
TVStand 34 GarbageCan 5
Pencil 0 35 35 30: DiningTable 74 Desk 68 SideTable 56 CoffeeTable 54 CounterTop 53 Shelf 51 Dresser 50 Drawer 41 \
TVStand 29 GarbageCan 11
PepperShaker 0 30 33 37: Cabinet 69 CounterTop 63 DiningTable 61 SideTable 43 Drawer 31 Shelf 31
Pillow 0 60 33 6: Bed 168 Sofa 91 ArmChair 20 Ottoman 2
Plate 3 44 34 19: Cabinet 68 DiningTable 55 CounterTop 52 CoffeeTable 40 Shelf 22 TVStand 18 Fridge 16 SideTable 11 \
Dresser 10 SinkBasin 4
Pot 0 53 37 9: StoveBurner 136 CounterTop 26 DiningTable 13 Fridge 8 Cabinet 6 Shelf 4
Potato 1 37 33 28: DiningTable 56 CounterTop 55 Fridge 51 SideTable 23 SinkBasin 21 Microwave 20 GarbageCan 12
RemoteControl 3 38 35 25: Desk 67 CounterTop 62 CoffeeTable 56 TVStand 46 DiningTable 43 Dresser 40 Sofa 36 \
SideTable 30 Ottoman 22 Drawer 20 ArmChair 17 Shelf 15
SaltShaker 0 36 33 31: CounterTop 63 Cabinet 62 DiningTable 61 SideTable 43 Drawer 28 Shelf 27
SoapBar 3 36 32 29: SideTable 62 Cabinet 54 CounterTop 45 Drawer 38 BathtubBasin 35 Cart 33 Shelf 31 Toilet 30 \
SinkBasin 29 GarbageCan 13
SoapBottle 2 37 34 28: DiningTable 70 Cabinet 62 CounterTop 62 Dresser 51 Toilet 43 Shelf 43 SideTable 27 Cart 24 \
GarbageCan 19 Drawer 4
Spatula 0 36 36 27: CounterTop 85 DiningTable 83 Drawer 42 SinkBasin 16 SideTable 11
Spoon 1 34 34 30: DiningTable 75 CounterTop 73 Drawer 55 SideTable 32 SinkBasin 21
SprayBottle 0 38 31 31: SideTable 88 Cart 87 CounterTop 73 DiningTable 73 Cabinet 70 Toilet 54 Shelf 54 Dresser 40 \
GarbageCan 21
Statue 0 35 39 23: CounterTop 91 Shelf 87 DiningTable 78 CoffeeTable 71 Desk 66 TVStand 54 SideTable 52 Dresser 47
TeddyBear 25 75 0 0: Bed 75
Television 37 63 0 0: TVStand 90 Dresser 82 CoffeeTable 8 SideTable 2
TissueBox 0 40 32 28: CoffeeTable 97 CounterTop 87 Desk 83 DiningTable 79 Shelf 62 Cabinet 46 TVStand 43 Cart 43 \
SideTable 37 Drawer 34 Dresser 17 Toilet 5
ToiletPaper 1 25 56 17: CounterTop 52 Cabinet 50 Toilet 46 Shelf 42 Dresser 42 SideTable 40 Drawer 39 Cart 37 \
ToiletPaperHanger 23 GarbageCan 19
Tomato 1 34 33 32: DiningTable 70 Fridge 66 CounterTop 59 SideTable 29 GarbageCan 18 SinkBasin 13
Towel 0 86 14 0: TowelHolder 114 CounterTop 3
Vase 6 7 36 42: Dresser 124 Shelf 108 CounterTop 86 Cabinet 73 CoffeeTable 69 DiningTable 55 Desk 43 SideTable 38 \
TVStand 35
Watch 0 25 38 37: Desk 63 DiningTable 60 TVStand 59 Drawer 59 CoffeeTable 58 Dresser 52 Shelf 46 SideTable 43
WateringCan 83 11 5 2: Shelf 52 CoffeeTable 17 SideTable 3
WineBottle 0 37 31 32: CounterTop 73 DiningTable 69 Cabinet 50 Shelf 17 GarbageCan 17 Fridge 3 SideTable 2
"""
"""class, percent of rooms with 0, 1, 2, 3 of it in a receptacle: receptacle class, how often it is there if it can."""


def _read(table: str) -> dict[str, tuple[tuple[int, ...], dict[str, int]]]:
    places = {}
    for line in table.split("\n"):
        head, _, tail = line.partition(": ")
        if tail:
            name, *counts = head.split()
            words = tail.split()
            weights = dict(zip(words[::2], map(int, words[1::2]), strict=True))
            places[name] = (tuple(map(int, counts)), weights)
    return places


PLACES = _read(_TABLE)
"""class -> (weights of 0, 1, 2, 3 instances; receptacle class -> weight)."""
SCENERY = frozenset({"DeskLamp", "HousePlant", "Television"})
"""Classes that stand on receptacles and cannot be picked up."""
